"""AI-TOD's protocol: COCO's with sizes for tiny objects and 1,500 detections."""

from __future__ import annotations

from typing import ClassVar

from uavdet.evaluation.coco import CocoLike


class AiTod(CocoLike):
    """The protocol of AI-TOD (Wang et al., ICPR 2020) as its fork of pycocotools has it, at 100, 300 and 1,500.

    Sizes are very tiny (up to 8 pixels), tiny (8 to 16), small (16 to 32) and medium (above), by annotated area;
    both ends count, so that an object of exactly 8 by 8 pixels is very tiny and tiny. The fork's optimal LRP is not
    given.
    """

    name = "aitod"
    max_detections = 1500
    rules = "1,500 detections an image and class; sizes at 8, 16 and 32 pixels; crowds ignored, ignore regions not used"
    areas: ClassVar = {"vt": (0.0, 8.0**2), "t": (8.0**2, 16.0**2), "s": (16.0**2, 32.0**2), "m": (32.0**2, 1e10)}
    limits = (100, 300, 1500)
