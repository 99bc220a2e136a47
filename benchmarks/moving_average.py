"""What a moving average over more or fewer steps is worth: one training, in which several averages follow the weights.

    python benchmarks/moving_average.py --model runs/methods/models/so-detr-n.yaml \\
        --start runs/methods/train/scenes-so-detr-n/weights/last.pt --data PATH/hituav/data.yaml

`benchmarks/methods` makes the model and the start. Each average is validated at the end, on the same images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor
from ultralytics.utils.torch_utils import ModelEMA, unwrap_model

from uavdet import UAVDet
from uavdet.engine.trainer_setup import TrainerSetup

RECIPE = Path(__file__).parent / "methods" / "recipe.yaml"
SHARES = (20, 10, 5, 3)
"""Averages over one such part of the run."""

Averages = dict[str, ModelEMA]


class SeveralAverages(ModelEMA):
    """Ultralytics' average, which the trainer sees, and others beside it."""

    def __init__(self, model: Any, others: Averages) -> None:
        super().__init__(model)
        self.others = others

    def update(self, model: Any) -> None:
        """Take the weights of a step."""
        super().update(model)
        for average in self.others.values():
            average.update(model)


def train(options: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Train, and return the weights of every average by name."""
    others: Averages = {}

    def start(trainer: Any) -> SeveralAverages:
        steps = trainer.epochs * len(trainer.train_loader)
        for share in SHARES:
            averaged = max(1.0, steps / share)
            others[f"1/{share} of the run"] = ModelEMA(trainer.model, decay=1 - 1 / averaged, tau=averaged / 5)
        others["none"] = ModelEMA(trainer.model, decay=0.0)
        return SeveralAverages(trainer.model, others)

    TrainerSetup.new_average = start
    model = UAVDet(options.pop("model"))
    last = model.train(**options).last
    theirs = UAVDet(last).module.state_dict()
    return {"Ultralytics'": theirs, **{name: unwrap_model(each.ema).state_dict() for name, each in others.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--start", required=True, help="weights to start from")
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/moving-average"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--lrf", type=float, default=1.0, help="last learning rate over the first")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shared = {"data": args.data, "imgsz": args.imgsz, "project": str(args.folder.resolve()), "exist_ok": True}
    schedule = {"epochs": args.epochs, "batch": 4, "lrf": args.lrf, "seed": args.seed}
    averages = train(
        {**shared, **schedule, "model": args.model, "pretrained": args.start, "recipe": str(RECIPE), "name": "train"}
    )
    scored = UAVDet(args.folder / "train" / "weights" / "last.pt")
    for name, weights in averages.items():
        scored.module.load_state_dict(weights)
        metrics = scored.val(**shared, name="val", plots=False, verbose=False)
        print(f"{name:18} AP {100 * metrics['coco/AP']:.1f}  AP50 {100 * metrics['coco/AP50']:.1f}", flush=True)


if __name__ == "__main__":
    main()
