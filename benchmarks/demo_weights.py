"""Train the bundled weights as their card says: on synthetic thermal scenes, then on HIT-UAV, then at its full size.

    python benchmarks/demo_weights.py --hituav PATH/hituav/data.yaml [--folder runs/demo-weights]

Takes three to four hours on two CPU cores, by the timed stages. What is there already is not made
again: a stage that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import yaml

from uavdet import UAVDet
from uavdet.data.scenes import SceneConfig, write_dataset
from uavdet.engine.checkpoint import read_checkpoint

SCENES = {"train": 3000, "val": 60}
MIXED_IN = 200
MIXED_IN_AT_FULL_SIZE = 100
FREQUENT = 0.5
"""Share of the images from which on a class is frequent enough; images of rarer ones are repeated."""
NAMES = {"person": "Person", "car": "Car", "bicycle": "Bicycle", "truck": "OtherVehicle"}


def make_scenes(folder: Path) -> Path:
    """Return the YAML of the synthetic dataset."""
    if (folder / "data.yaml").exists():
        return folder / "data.yaml"
    config = SceneConfig(seed=100, size=(640, 512), objects=16, min_size=6, max_size=140)
    return write_dataset(folder, SCENES, config, NAMES, modalities=("thermal",), workers=2)


def repeat_rare_classes(hituav: Path) -> list[Path]:
    """Return the training images, those of rare classes more than once (LVIS, arXiv 1908.03195, appendix B.2).

    An image is repeated as its rarest class asks for: the root of `FREQUENT` over the share of images with that class,
    rounded up or down at random.
    """
    real = yaml.safe_load(hituav.read_text(encoding="utf-8"))
    truth = json.loads((hituav.parent / real["annotations"]["train"]).read_text(encoding="utf-8"))
    classes: dict[int, set[int]] = defaultdict(set)
    for annotation in truth["annotations"]:
        classes[annotation["image_id"]].add(annotation["category_id"])
    images = Counter(category for present in classes.values() for category in present)
    repeats = {c: max(1.0, math.sqrt(FREQUENT * len(truth["images"]) / count)) for c, count in images.items()}
    rng, repeated = random.Random(0), []
    for image in truth["images"]:
        wanted = max((repeats[category] for category in classes[image["id"]]), default=1.0)
        times = int(wanted) + (rng.random() < wanted - int(wanted))
        repeated += [hituav.parent / real["train"] / Path(image["file_name"]).name] * times
    return repeated


def make_mixture(folder: Path, scenes: Path, mixed_in: int, hituav: Path, images: list[Path]) -> Path:
    """Return the YAML of HIT-UAV whose training split is these images and some synthetic scenes."""
    real = yaml.safe_load(hituav.read_text(encoding="utf-8"))
    images = sorted((scenes.parent / "images" / "train").iterdir())[:mixed_in] + images
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.txt").write_text("\n".join(str(image.resolve()) for image in images), encoding="utf-8")
    mixture = {
        "train": str((folder / "train.txt").resolve()),
        "val": str((hituav.parent / real["val"]).resolve()),
        "annotations": {"val": str((hituav.parent / real["annotations"]["val"]).resolve())},
        "names": real["names"],
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(mixture, sort_keys=False), encoding="utf-8")
    return folder / "data.yaml"


def train_stage(model: str, data: Path, recipe: str, folder: Path, name: str) -> Path:
    """Return the last checkpoint of a stage: its schedule ends in a low learning rate, so that no epoch is picked."""
    last = folder / name / "weights" / "last.pt"
    if not last.exists():
        return UAVDet(model).train(data=str(data), recipe=recipe, project=str(folder), name=name).last
    if read_checkpoint(last).training is not None:
        UAVDet(model).train(resume=str(last))
    return last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hituav", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/demo-weights"))
    args = parser.parse_args()
    scenes = make_scenes(args.folder / "scenes")
    pretrained = train_stage("so-detr-n.yaml", scenes, "demo-scenes", args.folder, "scenes-run")
    train = args.hituav.parent / yaml.safe_load(args.hituav.read_text(encoding="utf-8"))["train"]
    real = sorted(train.iterdir())
    mixture = make_mixture(args.folder / "mixture", scenes, MIXED_IN, args.hituav, real)
    smaller = train_stage(str(pretrained), mixture, "demo-thermal", args.folder, "thermal-run")
    repeated = repeat_rare_classes(args.hituav)
    balanced = make_mixture(args.folder / "balanced", scenes, MIXED_IN_AT_FULL_SIZE, args.hituav, repeated)
    weights = train_stage(str(smaller), balanced, "demo-full-size", args.folder, "full-size-run")
    metrics = UAVDet(str(weights)).val(data=str(args.hituav), project=str(args.folder), name="val")
    print({key: round(value, 4) for key, value in metrics.items() if key.startswith("coco/")})
    exported = UAVDet(str(weights)).export(format="safetensors", half=True, out="so-detr-n-demo.safetensors")
    print(f"Written: {exported}")


if __name__ == "__main__":
    main()
