"""What is asked of the process that runs one model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SubjectSettings:
    """How one model is run.

    Attributes:
        model: Weights, a model YAML, or an exported file or folder.
        image: `.npy` file of the picture to detect in, (H, W, 3) uint8 BGR.
        imgsz: Side of the input in pixels, or [height, width]; None for the model's own.
        batch: Images a run; None for the number that an exported file fixes, else 1.
        device: As in `uavdet predict`; None for the fastest that works.
        threads: CPU threads.
        half: Compute in half precision.
        queries: Number of object queries, in the place of the checkpoint's.
    """

    model: str
    image: str
    imgsz: int | list[int] | None = None
    batch: int | None = None
    device: str | int | None = None
    threads: int = 1
    half: bool = False
    queries: int | None = None


@dataclass(frozen=True)
class Description:
    """What a process says of the model that it has opened.

    Attributes:
        device: What it runs on.
        precision: "fp32", "fp16", "bf16" or "int8".
        imgsz: [height, width] of the input in pixels.
        batch: Images a run.
    """

    device: str
    precision: str
    imgsz: list[int]
    batch: int


@dataclass(frozen=True)
class PassTimes:
    """Seconds of one run, from pictures to detections.

    Attributes:
        preprocess: From pictures to the network's input.
        inference: The network.
        postprocess: From its outputs to detections in original pixels.
        whole: All of it.
        processor: Processor time of all threads together.
    """

    preprocess: float
    inference: float
    postprocess: float
    whole: float
    processor: float
