"""Arms of an experiment compared by one protocol, with paired bootstrap intervals for their differences.

An arm is one method or setting; its runs differ in their random seeds alone. All runs are scored on the same images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from uavdet.evaluation.bootstrap import draw_image_weights
from uavdet.evaluation.protocol import Protocol
from uavdet.evaluation.run_files import ValidatedRun

INTERVAL = (2.5, 97.5)
"""Percentiles of the samples that bound an interval."""

_MOST_ARMS_IN_PAIRS = 4
Arms = Mapping[str, list[ValidatedRun]]


@dataclass(frozen=True)
class Difference:
    """How much better one arm is than another in one metric, in [-1, 1].

    Attributes:
        arm: Name of the arm.
        baseline: Name of the arm that is subtracted.
        metric: Name of the metric.
        value: The difference of the means over runs.
        low: Lower end of the 95 % interval; NaN where no sample has an object to score.
        high: Upper end.
        below_zero: Share of the samples in which the arm is worse.
        samples: Samples that have an object to score.
    """

    arm: str
    baseline: str
    metric: str
    value: float
    low: float
    high: float
    below_zero: float
    samples: int

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name; the value is called `difference`."""
        values = {"arm": self.arm, "baseline": self.baseline, "metric": self.metric, "difference": self.value}
        return values | {"interval": [self.low, self.high], "below_zero": self.below_zero, "samples": self.samples}


@dataclass(frozen=True)
class Comparison:
    """What one protocol says of several arms.

    Attributes:
        protocol: Its name.
        rules: Its rules, in a line.
        values: Arm to metric to the value of each run, in [0, 1]; NaN where there is no object to score.
        differences: Empty where the protocol cannot be resampled, and for a single arm.
        resampled: Whether the protocol can be resampled.
    """

    protocol: str
    rules: str
    values: dict[str, dict[str, np.ndarray]]
    differences: list[Difference] = field(default_factory=list)
    resampled: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return means, standard deviations over runs (None for a single run) and differences by name."""
        arms = {
            arm: {
                metric: {"mean": values.mean(), "std": seed_deviation(values), "values": values}
                for metric, values in metrics.items()
            }
            for arm, metrics in self.values.items()
        }
        return {"arms": arms, "resampled": self.resampled, "differences": [d.as_dict() for d in self.differences]}


def seed_deviation(values: np.ndarray) -> float:
    """Return the standard deviation over runs (n - 1); NaN for a single run."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def compare_arms(protocol: Protocol, arms: Arms, *, samples: int, seed: int) -> Comparison:
    """Compare arms by one protocol.

    Every bootstrap sample draws the images anew, the same for all runs, so that what is easy or hard in an image
    cancels in a difference. Where an arm has several runs, the sample draws as many of them anew too, each arm for
    itself: seeds of different arms have nothing in common. An interval is that between the 2.5th and 97.5th percentile
    (Efron and Tibshirani, 1993, section 13.3); with few runs it is too narrow in what concerns the seeds, as the
    deviation of few values is.

    Args:
        protocol: One that cannot be resampled gives values alone.
        arms: Name to runs, all on the same truth. With up to four arms all pairs are compared, else each with the
            first.
        samples: Number of bootstrap samples.
        seed: Of the draws.
    """
    weights = draw_image_weights(len(next(iter(arms.values()))[0].truth.images), samples, seed)
    # the first sample is the images as they are
    weights = np.concatenate([np.ones_like(weights[:1]), weights])
    resampled = {arm: [_sample_metrics(protocol, run, weights) for run in runs] for arm, runs in arms.items()}
    if any(run is None for runs in resampled.values() for run in runs):
        values = {arm: _stack([_recorded_metrics(protocol, run) for run in runs]) for arm, runs in arms.items()}
        return Comparison(protocol.name, protocol.rules, values, resampled=False)
    sampled = {arm: _stack(runs) for arm, runs in resampled.items()}  # type: ignore[arg-type]
    values = {arm: {name: v[:, 0] for name, v in metrics.items()} for arm, metrics in sampled.items()}
    means = {arm: _resample_runs(metrics, [seed, i]) for i, (arm, metrics) in enumerate(sampled.items())}
    pairs = list(_pairs(list(arms)))
    differences = [
        measure_difference(arm, baseline, name, means[arm][name], means[baseline][name])
        for baseline, arm in pairs
        for name in means[arm]
    ]
    return Comparison(protocol.name, protocol.rules, values, differences)


def _pairs(names: list[str]) -> Iterable[tuple[str, str]]:
    if len(names) <= _MOST_ARMS_IN_PAIRS:
        return combinations(names, 2)
    return ((names[0], other) for other in names[1:])


def _sample_metrics(protocol: Protocol, run: ValidatedRun, weights: np.ndarray) -> dict[str, np.ndarray] | None:
    """Return the metrics of one run on resampled images; None where the protocol cannot weigh images."""
    return protocol.resample(run.truth, run.detections, weights)


def _recorded_metrics(protocol: Protocol, run: ValidatedRun) -> dict[str, float]:
    """Return what metrics.json says; what was not scored then is scored now."""
    recorded = run.record["protocols"].get(protocol.name)
    if recorded is None:
        return protocol.score(run.truth, run.detections).metrics
    return {name: float("nan") if value is None else float(value) for name, value in recorded["metrics"].items()}


def _stack(runs: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return each metric of all runs as (R, ...)."""
    return {name: np.stack([metrics[name] for metrics in runs]) for name in runs[0]}


def _resample_runs(metrics: Mapping[str, np.ndarray], seed: list[int]) -> dict[str, np.ndarray]:
    """Return the mean (S,) over runs, drawn anew for each sample but the first, of metrics (R, S)."""
    runs, samples = next(iter(metrics.values())).shape
    drawn = np.random.default_rng(seed).integers(0, runs, (runs, samples))
    drawn[:, 0] = np.arange(runs)
    return {name: np.take_along_axis(values, drawn, axis=0).mean(0) for name, values in metrics.items()}


def measure_difference(arm: str, baseline: str, metric: str, values: np.ndarray, others: np.ndarray) -> Difference:
    """Return the difference of two arms with its interval.

    Args:
        arm: Name of the arm.
        baseline: Name of the other.
        metric: Name of the metric.
        values: (1 + S,) the arm's value and its bootstrap samples.
        others: (1 + S,) those of the baseline, from the same draws of images.
    """
    difference = values - others
    valid = difference[1:][np.isfinite(difference[1:])]
    low = high = below = float("nan")
    if len(valid):
        low, high = (float(end) for end in np.percentile(valid, INTERVAL))
        below = float((valid < 0).mean())
    return Difference(arm, baseline, metric, float(difference[0]), low, high, below, len(valid))
