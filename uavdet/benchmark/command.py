"""`uavdet benchmark`."""

from __future__ import annotations

import sys
from typing import Any

from uavdet.arguments import defaults_of
from uavdet.assets import DEMO_WEIGHTS
from uavdet.benchmark.measure import measure_models
from uavdet.json_output import print_json


def run_benchmark(options: dict[str, Any]) -> int:
    """Time models beside one another, and print the figures.

    Args:
        options: `model` and the others, as the argument table describes them.

    Returns:
        The exit code, 0.

    Raises:
        UAVDetError: See `measure_models`.
    """
    options = {**defaults_of("benchmark"), **options}
    wanted, models = options.pop("json"), options.pop("model") or [DEMO_WEIGHTS.stem]
    print(f"{len(models)} models, {options['runs']} rounds", file=sys.stderr)
    report = measure_models(models, **options)
    print_json(report.as_dict()) if wanted else print(report.table())
    return 0
