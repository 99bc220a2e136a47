"""Small annotated images, as files."""

import cv2
import numpy as np


def write_images(folder, images, names=("person", "car"), size=(96, 160), channels=None):
    """Write a dataset of noise images with a split `val`, and return its YAML.

    Args:
        folder: Where to.
        images: Rows (class, cx, cy, w, h) of each image, by name without suffix; None for no label file.
        names: Of the classes.
        size: (height, width) of the images.
        channels: Of the images, for the YAML.
    """
    (folder / "images/val").mkdir(parents=True)
    (folder / "labels/val").mkdir(parents=True)
    for seed, (name, rows) in enumerate(images.items()):
        coarse = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"images/val/{name}.png"), picture)
        if rows is not None:
            text = "".join(f"{int(row[0])} {' '.join(f'{value:.8f}' for value in row[1:])}\n" for row in rows)
            (folder / f"labels/val/{name}.txt").write_text(text)
    lines = ["train: images/val", "val: images/val", f"names: [{', '.join(names)}]"]
    (folder / "data.yaml").write_text("\n".join([*lines, *([f"channels: {channels}"] if channels else [])]))
    return folder / "data.yaml"
