"""Train a detector on synthetic aerial scenes, validate it and export it: the whole way in a minute or two.

python examples/train_on_scenes.py [folder]
"""

from __future__ import annotations

import sys
from pathlib import Path

from uavdet import UAVDet
from uavdet.data.scenes import SceneConfig, write_dataset


def main(folder: Path) -> None:
    config = SceneConfig(seed=0, size=(320, 256), objects=12, min_size=8, max_size=80)
    names = {"person": "person", "car": "car", "truck": "truck"}
    data = write_dataset(folder / "data", {"train": 24, "val": 8}, config, names)

    model = UAVDet("so-detr-n.yaml")
    result = model.train(data=str(data), epochs=2, imgsz=256, batch=8, project=str(folder / "runs"), plots=False)
    print(f"trained: {result.best}")

    metrics = model.val(data=str(data), project=str(folder / "runs"), plots=False)
    print(f"AP {metrics['coco/AP']:.3f}, AP50 {metrics['coco/AP50']:.3f} (two epochs teach little)")

    print(f"exported: {model.export(format='onnx')}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example"))
