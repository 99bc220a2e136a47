"""Checks that the perturbation of `set` does what it says: on a trained model, it raises the loss of every branch.

Batches of a dataset go through the model in training mode, without denoising queries and without mosaic. The head then
reads the features P, P + eps, and P + random noise that is as long as eps on every level of every image; all three are
compared by the same terms, those of all layers and of the encoder. A share of 0.95 is what to expect at least.

Losses are taken twice. First with the targets of the main pass held: the selected queries, their matches, and the
IoU that is the target score of the class loss. These are what Eq. 6 differentiates, and what a detector with fixed
targets, as the paper's, sees. Then with queries and targets found anew, as in the auxiliary pass. The class loss of
RT-DETR (varifocal) weighs a matched query by its box's IoU: where the boxes get worse, it asks for less and falls.

    python benchmarks/spectral_enhancement.py --data data.yaml
    python benchmarks/spectral_enhancement.py --data data.yaml --model best.pt --imgsz 640 --rho 5 --norm batch
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from uavdet.engine.families import Family
from uavdet.engine.plan import plan_training
from uavdet.engine.trainer import build_trainer
from uavdet.losses import detection
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.spectral_enhancement.auxiliary import auxiliary_terms, branch_losses
from uavdet.methods.spectral_enhancement.perturbation import adversarial_perturbation

Losses = dict[str, float]


class Targets(TorchFunctionMode):
    """Remembers the queries, matches and target scores of the main pass, and gives them again while `held`."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self._known: dict[str, Any] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (torch.topk, Tensor.topk):
            return func(*args, **(kwargs or {}))
        index = self._keep("queries", lambda: func(*args, **(kwargs or {})).indices)
        return torch.return_types.topk((args[0].gather(-1, index), index))

    def _keep(self, name: str, find: Any) -> Any:
        if not self.held:
            self._known[name] = find()
        return self._known[name]

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Remember, or give again, what the head and the criterion find."""
        match, overlap = detection.match, detection.expanded_iou
        with (
            self,
            mock.patch.object(detection, "match", lambda *given: self._keep("matches", lambda: match(*given))),
            mock.patch.object(detection, "expanded_iou", lambda *given: self._keep("scores", lambda: overlap(*given))),
        ):
            yield


def noise_like(steps: Sequence[Tensor]) -> list[Tensor]:
    """Return random noise that is as long as the perturbation, image by image and level by level."""
    noise = [torch.randn_like(step) for step in steps]
    lengths = [[values.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for values in pair] for pair in (steps, noise)]
    return [values * (long / own) for values, long, own in zip(noise, *lengths, strict=True)]


def compare(model: Any, recorder: FeatureRecorder, batch: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return the losses of the branches on P, with eps and with noise; targets held, and anew."""
    targets, given = Targets(), args.terms
    with targets.watch():
        model.plain_loss(batch, model.predict(batch["img"]))
    maps, branches = recorder.head_inputs, branch_losses(model, model.loss_terms, given)
    found = {"plain": numbers(branches)}
    losses = list(branches.values())
    if args.branches == "merged":
        losses = [torch.stack(losses).sum()]
    steps = adversarial_perturbation(losses, maps, args.rho, args.norm)
    targets.held = True
    for name, change in (("eps", steps), ("noise", noise_like(steps))):
        changed = [level + step for level, step in zip(maps, change, strict=True)]
        with torch.no_grad():
            with targets.watch():
                held = auxiliary_terms(model, recorder, changed, batch)
            anew = auxiliary_terms(model, recorder, changed, batch)
        found |= {f"{name} held": numbers(branch_losses(model, held, given))}
        found |= {f"{name} anew": numbers(branch_losses(model, anew, given))}
    return found


def numbers(losses: dict[str, Tensor]) -> Losses:
    """Return losses as numbers."""
    return {name: loss.item() for name, loss in losses.items()}


def measure(args: argparse.Namespace) -> list[dict[str, Losses]]:
    """Return the losses of every batch."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"model": args.model, "data": args.data, "imgsz": args.imgsz, "batch": args.batch, "amp": "fp32"}
        fixed = {"mosaic": 0.0, "device": "cpu", "plots": False, "verbose": False, "epochs": 1, "project": folder}
        plan = plan_training({**options, **fixed})
        if plan.family is not Family.OURS:
            raise SystemExit(
                "This looks into the criterion of this project's models. Give one of them: --model best.pt."
            )
        trainer = build_trainer(plan)
        trainer._setup_train()
        model: Any = trainer.model
        recorder = FeatureRecorder(model.train())
        torch.manual_seed(0)  # of the noise
        return [
            compare(model, recorder, trainer.preprocess_batch(batch), args)
            for _, batch in zip(range(args.batches), trainer.train_loader, strict=False)
        ]


def report(found: list[dict[str, Losses]], args: argparse.Namespace) -> None:
    """Print the table."""
    settings = f"rho {args.rho:g}, norm {args.norm}, terms {args.terms}, branches {args.branches}"
    print(f"{args.model}, {args.imgsz} pixels, {len(found)} batches of {args.batch}: {settings}\n")
    print(f"{'':8}{'':>10}{'mean rise of the loss':^30}{'share of batches in which':^36}")
    head = ("eps", "noise", "eps, anew", "eps > P", "eps > noise", "anew > P")
    print(f"{'branch':8}{'loss on P':>10}" + "".join(f"{name:>{10 if i < 3 else 12}}" for i, name in enumerate(head)))
    for branch in found[0]["plain"]:
        column = {name: [batch[name][branch] for batch in found] for name in found[0]}
        plain = column["plain"]
        rises = [statistics.mean(a / b - 1 for a, b in zip(column[n], plain, strict=True))
                 for n in ("eps held", "noise held", "eps anew")]  # fmt: skip
        pairs = [("eps held", "plain"), ("eps held", "noise held"), ("eps anew", "plain")]
        shares = [statistics.mean(a > b for a, b in zip(column[x], column[y], strict=True)) for x, y in pairs]
        line = f"{branch:8}{statistics.mean(plain):10.4f}" + "".join(f"{rise:+10.2%}" for rise in rises)
        print(line + "".join(f"{share:12.2f}" for share in shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="dataset YAML")
    parser.add_argument("--model", default="so-detr-n-demo", help="trained weights; the demo's, for thermal images")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--rho", type=float, default=1.0)
    parser.add_argument("--norm", choices=("image", "batch"), default="image")
    parser.add_argument("--terms", choices=("final", "matching"), default="matching")
    parser.add_argument("--branches", choices=("separate", "merged"), default="separate")
    args = parser.parse_args()
    report(measure(args), args)


if __name__ == "__main__":
    main()
