"""What an exported file says of itself.

Two readers are served. Ultralytics' keys (`names`, `imgsz`, `stride`, `task`, `head`, ...) stand at the top, as text in
ONNX files, so that its loaders read the file. Under `uavdet` stands ours, as JSON:

* `schema`: 2.
* `preprocessing`: what the file expects of a picture.
  - `resize`: "stretch" to imgsz, bilinear, as in training.
  - `dtype`: "float32" or "uint8".
  - `layout`: "NCHW", or "NHWC" for uint8.
  - `color`: "RGB" for float32, "BGR" for uint8 (as OpenCV holds pictures), "grey" for one channel.
  - `scale`: what pixel values of 0 to 255 are multiplied by: 1/255, or 1 for uint8, where the graph does it.
* `output`: "detections", "raw" or "deepstream"; see `uavdet.export.outputs` for their shapes.
* `rows`: detections an image at most; `raw` gives all queries, whose best pairs of box and class are that many.
* `boxes`: "cxcywh normalised", or "xyxy pixels" of the network's input for deepstream.
* `precision`: "fp32", "fp16", "bf16" or "int8".
* `quantization`: null, or of a file in int8: `target` ("tensorrt" or "cpu"), `calibration` (which images), and `rows`,
  each with its number of convolutions, its error where it alone is quantized (relative, where the head reads), and
  whether it is int8.
* `gflops`: 10^9 operations an image, attention and Fourier transforms counted, as `uavdet info` does.
* `statistics`: boxes and objects of the training data, as the checkpoint holds them, or null.
* `metrics`: what the checkpoint scored when it was written, by name, or null.
* `weights_sha256`: `hash_weights` of the checkpoint.
* `versions`: of uavdet, torch and ultralytics that wrote the file.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import Any

import torch
from torch import nn

import uavdet
from uavdet.engine.checkpoint import plain_data, versions
from uavdet.engine.profile import count_gflops
from uavdet.export.network import NetworkOptions, channels_of, most_rows

SCHEMA = 2


def hash_weights(model: nn.Module) -> str:
    """Return the SHA-256 of a model's tensors: of their names, shapes and values, in the order of the names.

    Floating-point tensors count as float32, so that the file they came in and its precision on disk do not matter as
    long as the values are the same.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu()
        value = value.to(torch.float32) if value.is_floating_point() else value
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def describe_export(model: nn.Module, options: NetworkOptions, meta: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a file as plain data: Ultralytics' keys, and ours as JSON text under `uavdet`.

    Args:
        model: The detector, as trained.
        options: What the file settles.
        meta: The checkpoint's metadata; may be empty.
    """
    subject: Any = model
    values = {
        "description": f"uavdet {subject.yaml.get('yaml_file', 'detector')}",
        "author": "uavdet",
        "date": datetime.now(timezone.utc).isoformat(),
        "version": uavdet.__version__,
        "license": "AGPL-3.0-or-later",
        "task": "detect",
        "stride": int(subject.stride.max()),
        "batch": options.batch,
        "imgsz": list(options.imgsz),
        "channels": channels_of(model),
        "names": dict(subject.names),
        "end2end": False,
        "dynamic": options.dynamic,
        "args": {"batch": options.batch, "half": options.half, "dynamic": options.dynamic, "opset": options.opset},
    }
    if options.output == "detections":
        values["head"] = "RTDETRDecoder"  # Ultralytics then reads rows of a DETR
    return {**values, "uavdet": json.dumps(_own_part(model, options, meta))}


def _own_part(model: nn.Module, options: NetworkOptions, meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "preprocessing": _preprocessing(options, channels_of(model)),
        "output": options.output,
        "rows": most_rows(model, options.max_det),
        "boxes": "xyxy pixels" if options.output == "deepstream" else "cxcywh normalised",
        "precision": options.precision,
        "quantization": options.quantization.as_dict() if options.quantization is not None else None,
        "gflops": count_gflops(model, options.imgsz),
        "statistics": plain_data(meta.get("statistics")),
        "metrics": plain_data(meta.get("metrics")),
        "weights_sha256": hash_weights(model),
        "versions": versions(),
    }


def _preprocessing(options: NetworkOptions, channels: int) -> dict[str, Any]:
    pictures = options.input == "uint8"
    return {
        "resize": "stretch",
        "dtype": "uint8" if pictures else "float32",
        "layout": "NHWC" if pictures else "NCHW",
        "color": "grey" if channels == 1 else "BGR" if pictures else "RGB",
        "scale": 1.0 if pictures else 1 / 255,
    }


def as_text(metadata: dict[str, Any]) -> dict[str, str]:
    """Return metadata as ONNX files hold it; Ultralytics reads the values as Python literals."""
    return {key: str(value) for key, value in metadata.items()}
