"""`int8=True`: from a detector and real images to what is quantized in its file."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from ultralytics.utils import LOGGER

from uavdet.data.config import SPLITS, load_data_config
from uavdet.data.labels import list_images
from uavdet.errors import UsageError
from uavdet.export.calibration import measure_statistics
from uavdet.export.graph_rows import image_tensors, quantizable_rows
from uavdet.export.network import NetworkOptions, channels_of, exported_network
from uavdet.export.onnx import write_onnx
from uavdet.export.quantization import Quantization, check_rows
from uavdet.export.quantize import calibrated_tensors
from uavdet.export.samples import read_colour
from uavdet.export.sensitivity import cost_table, measure_costs
from uavdet.runtime.metadata import ImageInput
from uavdet.runtime.preprocess import InputBuffer

_CALIBRATION_IMAGES = 64
_SENSITIVITY_IMAGES = 4


def with_quantization(
    model: nn.Module, settled: NetworkOptions, options: Mapping[str, Any], default_target: str
) -> NetworkOptions:
    """Return what is settled in a file, with a plan for int8 from the options of `uavdet export`.

    Raises:
        ConfigError, DataError, UsageError: See `plan_quantization`.
    """
    target = options["target"] or default_target
    plan = plan_quantization(model, settled, options["data"], target, options["int8_exclude"])
    return replace(settled, quantization=plan)


def plan_quantization(
    model: nn.Module, options: NetworkOptions, data: str, target: str, exclude: Collection[str] = ()
) -> Quantization:
    """Calibrate a detector on the training images of a dataset, and measure what quantizing each row costs.

    Labels are not read. The validation images are left to the parity gate.

    Args:
        model: The detector, a DETR; it stays as it is.
        options: What else is settled in the file.
        data: A dataset YAML.
        target: "tensorrt" or "cpu"; see `quantize`.
        exclude: Rows to keep in float; without any, the gate decides.

    Raises:
        ConfigError: The dataset YAML cannot be used.
        DataError: Its images cannot be used.
        UsageError: A row of `exclude` cannot be quantized, or the model's images are neither in colour nor grey.
    """
    if channels_of(model) not in {1, 3}:
        raise UsageError(
            f"int8=True calibrates on pictures in colour or grey, and this model takes {channels_of(model)} channels. "
            "Leave int8 out."
        )
    files, source = _calibration_files(data)
    graph = _float_graph(model, options)
    rows = quantizable_rows(graph, exported_network(model, options))
    check_rows(exclude, rows)
    convolutions = [name for names in rows.values() for name in names]
    LOGGER.info(f"Calibrating {len(convolutions)} convolutions on {source}.")
    inputs = _Inputs(options, channels_of(model))
    measured = measure_statistics(graph, calibrated_tensors(graph, convolutions), inputs.read(files))
    # Pixels are 0 to 255: with this range a step of uint8 is a grey level, and images lose nothing.
    pixels = {name: replace(measured[name], low=0.0, high=1.0) for name in image_tensors(graph, measured)}
    statistics = {**measured, **pixels}
    few = [batch.copy() for batch in inputs.read(_spread(files, _SENSITIVITY_IMAGES))]
    costs = measure_costs(graph, rows, statistics, target, few)
    LOGGER.info(cost_table(costs, exclude))
    return Quantization(target, rows, statistics, costs, tuple(exclude), not exclude, source)


def _calibration_files(data: str) -> tuple[list[Path], str]:
    """Return images of the training split, or of the first that there is, and where they come from."""
    config = load_data_config(data)
    split = next(name for name in ("train", *SPLITS) if name in config.images)
    files = _spread(list_images(config.require(split)), _CALIBRATION_IMAGES)
    return files, f"{len(files)} images of {config.yaml_file.name} ({split})"


def _spread(files: Sequence[Path], count: int) -> list[Path]:
    """Return `count` files, evenly spread, or all where they are fewer."""
    places = np.unique(np.linspace(0, len(files) - 1, count).round().astype(int))
    return [files[place] for place in places]


def _float_graph(model: nn.Module, options: NetworkOptions) -> Any:
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "float.onnx"
        write_onnx(model, file, replace(options, half=False, quantization=None), {})
        return onnx.load(str(file))


class _Inputs:
    """Reads images into the input of a graph, one file at a time.

    Args:
        options: What the graph takes.
        channels: Channels of the model's images.
    """

    def __init__(self, options: NetworkOptions, channels: int) -> None:
        pictures = options.input == "uint8"
        color = "grey" if channels == 1 else "BGR" if pictures else "RGB"
        kind = np.uint8 if pictures else np.float32
        self._buffer = InputBuffer(ImageInput("images", options.imgsz, channels, kind, pictures, color))
        self._batch = 1 if options.dynamic else options.batch

    def read(self, files: Sequence[Path]) -> Iterator[np.ndarray]:
        """Yield batches, each of one image as often as a run takes images; a batch holds until the next one."""
        for file in files:
            yield self._buffer.fill([read_colour(file)] * self._batch, self._batch)
