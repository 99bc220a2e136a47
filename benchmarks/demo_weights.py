"""Train the bundled weights as their card says: on synthetic thermal scenes, then on HIT-UAV with some scenes among it.

    python benchmarks/demo_weights.py --hituav PATH/hituav/data.yaml [--folder runs/demo-weights]

Takes three to four hours on two CPU cores, by the timed stages. What is there already is not made
again: a stage that was killed goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from uavdet import UAVDet
from uavdet.data.scenes import SceneConfig, write_dataset
from uavdet.engine.checkpoint import read_checkpoint

SCENES = {"train": 3000, "val": 60}
MIXED_IN = 200
NAMES = {"person": "Person", "car": "Car", "bicycle": "Bicycle", "truck": "OtherVehicle"}


def make_scenes(folder: Path) -> Path:
    """Return the YAML of the synthetic dataset."""
    if (folder / "data.yaml").exists():
        return folder / "data.yaml"
    config = SceneConfig(seed=100, size=(640, 512), objects=16, min_size=6, max_size=140)
    return write_dataset(folder, SCENES, config, NAMES, modalities=("thermal",), workers=2)


def make_mixture(folder: Path, scenes: Path, hituav: Path) -> Path:
    """Return the YAML of HIT-UAV with synthetic scenes in its training split."""
    real = yaml.safe_load(hituav.read_text(encoding="utf-8"))
    images = sorted((scenes.parent / "images" / "train").iterdir())[:MIXED_IN]
    images += sorted((hituav.parent / real["train"]).iterdir())
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
    mixture = make_mixture(args.folder / "mixture", scenes, args.hituav)
    weights = train_stage(str(pretrained), mixture, "demo-thermal", args.folder, "thermal-run")
    metrics = UAVDet(str(weights)).val(data=str(args.hituav), project=str(args.folder), name="val")
    print({key: round(value, 4) for key, value in metrics.items() if key.startswith("coco/")})
    exported = UAVDet(str(weights)).export(format="safetensors", half=True, out="so-detr-n-demo.safetensors")
    print(f"Written: {exported}")


if __name__ == "__main__":
    main()
