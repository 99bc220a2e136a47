"""Reads detections of any origin: a COCO results JSON, or a folder of VisDrone or YOLO text files.

The format is told by the content. Boxes come out in original pixels, in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from uavdet.errors import DataError
from uavdet.evaluation.prediction_json import read_results_json
from uavdet.evaluation.prediction_text import read_text_folder
from uavdet.evaluation.truth import GroundTruth, ImageDetections


def read_predictions(path: str | Path, truth: GroundTruth) -> dict[str, ImageDetections]:
    """Read detections of annotated images.

    Args:
        path: One of

            * a COCO results JSON: a list of image_id, category_id, bbox (xywh in pixels) and score. An image_id is that
              of the annotations or, as Ultralytics writes it, the file name without suffix; a category_id that of the
              annotations, or the class id plus 1. What fits every row is used; where both fit and differ, a warning
              says which is;
            * a folder of VisDrone results, `x,y,w,h,score,category,-1,-1` in pixels, the category being the class id
              plus 1. Rows of the categories 0 and 11, which nobody scores, are left out, with a warning;
            * a folder of what Ultralytics writes with save_txt and save_conf, `class cx cy w h confidence`, normalised.

            Text files are named after their images, as `image.txt` or `folder_image.txt`.
        truth: The annotated images.

    Returns:
        Detections by image name, for the images that the file names; see `count_missing` for the others.

    Raises:
        DataError: A file is missing, malformed or truncated, a row has an unknown image or class, a number that is not
            finite, or a negative side; the message names the file and the line, or the row of a JSON.
    """
    path = Path(path)
    if path.is_dir():
        return read_text_folder(path, truth)
    if not path.exists():
        raise DataError(
            f"Predictions '{path}' do not exist. They are a COCO results JSON, or a folder of VisDrone or YOLO text "
            "files. Correct predictions=."
        )
    return read_results_json(path, truth)


def count_missing(truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> int:
    """Return how many annotated images the detections do not name; they are scored as images without a detection."""
    return sum(image.name not in detections for image in truth.images)
