"""Small ONNX networks with the metadata of an export, whose rows are known beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = {0: "person", 1: "car"}
ROWS = [[0.5, 0.5, 0.2, 0.4, 0.5, 1], [0.25, 0.5, 0.1, 0.1, 0.3, 0]]
NEAR = [0.51, 0.5, 0.2, 0.4, 0.4, 1]
"""A second box of the first row's object, at an IoU of 0.9."""


def write_network(
    path: Path,
    *,
    rows=ROWS,
    imgsz=(32, 64),
    batch=1,
    channels=3,
    input_type=TensorProto.FLOAT,
    output="detections",
    ours=None,
    metadata=None,
    gain=0.0,
) -> Path:
    """Write a network that gives the same rows for every image, `gain` times the mean of the input added to the scores.

    Args:
        path: The file.
        rows: (K, 6), or for output=raw boxes (K, 4) and scores (K, classes).
        imgsz: (height, width) of the input.
        batch: Images a run; a name leaves the batch size open.
        channels: Channels of the input.
        input_type: Of ONNX; uint8 is (B, H, W, C).
        output: As in the metadata.
        ours: More entries of the metadata under `uavdet`; False leaves it out.
        metadata: More entries of the metadata; a value of None leaves one out.
        gain: See above.
    """
    pictures = input_type == TensorProto.UINT8
    shape = [batch, *imgsz, channels] if pictures else [batch, channels, *imgsz]
    parts = [np.asarray(part, np.float32) for part in (rows if output == "raw" else [rows])]
    names = ["boxes", "scores"] if output == "raw" else ["output0"]
    masks = [np.zeros((1, *part.shape), np.float32) for part in parts]
    masks[-1][..., slice(None) if output == "raw" else 4] = gain
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "last"], ["level"]),
    ]
    constants = [numpy_helper.from_array(np.array([3]), "last")]
    for name, part, mask in zip(names, parts, masks, strict=True):
        constants += [
            numpy_helper.from_array(part[None], f"{name}_rows"),
            numpy_helper.from_array(mask, f"{name}_mask"),
        ]
        nodes += [
            helper.make_node("Mul", ["level", f"{name}_mask"], [f"{name}_added"]),
            helper.make_node("Add", [f"{name}_rows", f"{name}_added"], [name]),
        ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", input_type, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *part.shape])
            for name, part in zip(names, parts, strict=True)
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told = {"names": str(NAMES), "imgsz": str(list(imgsz)), "stride": "32", "task": "detect", "head": "RTDETRDecoder"}
    if ours is not False:
        told["uavdet"] = json.dumps({"schema": 2, "output": output, **(ours or {})})
    told |= metadata or {}
    helper.set_model_props(model, {key: value for key, value in told.items() if value is not None})
    onnx.save(model, str(path))
    return path
