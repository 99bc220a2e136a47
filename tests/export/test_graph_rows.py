"""Which convolutions of a graph can be quantized, and where they stand."""

import functools

import onnx
import pytest

from tests.export.networks import make_model
from uavdet.export.graph_rows import head_inputs, image_tensors, quantizable_rows
from uavdet.export.network import NetworkOptions, exported_network
from uavdet.export.onnx import write_onnx
from uavdet.export.quantize import calibrated_tensors


@pytest.fixture(scope="module")
def graph_of(tmp_path_factory):
    """Return a function that returns the graph of a model and its rows; each is exported once."""

    @functools.cache
    def make(name, **settings):
        model, options = make_model(name), NetworkOptions(imgsz=(128, 128), **settings)
        file = tmp_path_factory.mktemp("graphs") / "x.onnx"
        write_onnx(model, file, options, {})
        graph = onnx.load(str(file))
        return graph, quantizable_rows(graph, exported_network(model, options))

    return make


@pytest.mark.parametrize("name", ["so-detr-n-thumb2", "so-detr-ev2", "rtdetr-l.yaml"])
def test_heads_attention_and_fourier_transforms_stay_float(name, graph_of):
    graph, rows = graph_of(name)
    chosen = {convolution for names in rows.values() for convolution in names}
    kept = {node.name for node in graph.graph.node if node.op_type == "Conv"} - chosen
    assert len(chosen) > 30
    parts = ("/decoder/", "/modulation/", "/dual_domain/", "/attention/", "/model.28/")
    assert kept
    assert all(any(part in convolution for part in parts) for convolution in kept), kept
    assert not [
        convolution
        for convolution in chosen
        if any(f"/{part}/" in convolution for part in ("decoder", "modulation", "attention", "model.28"))
    ]
    if name == "so-detr-n-thumb2":
        assert "thumbnail" in rows


def test_nothing_of_the_head_reaches_the_calibrator(graph_of):
    graph, rows = graph_of("so-detr-n-thumb2")
    tensors = calibrated_tensors(graph, [name for names in rows.values() for name in names])
    constants = {tensor.name for tensor in graph.graph.initializer}
    assert not constants & set(tensors)
    assert not [name for name in tensors if "/decoder/" in name or "anchor" in name]


@pytest.mark.parametrize(("kind", "tensor"), [("float", "images"), ("uint8", "/pictures/Div_output_0")])
def test_the_image_is_found_behind_what_prepares_it(kind, tensor, graph_of):
    graph, rows = graph_of("rtdetr-n", input=kind)
    tensors = calibrated_tensors(graph, [name for names in rows.values() for name in names])
    assert image_tensors(graph, tensors) == [tensor]


def test_the_head_reads_three_maps(graph_of):
    graph, _ = graph_of("rtdetr-n", input="float")
    sources = {name: node.name for node in graph.graph.node for name in node.output}
    assert [sources[name].split("/")[2] for name in head_inputs(graph)] == ["p3", "p4", "p5"]
