"""The images that analyses look at: which ones, in what geometry, and what is refused."""

import json

import cv2
import numpy as np
import pytest
import torch

from tests.analysis.annotated import write_images
from tests.analysis.detectors import write_detector
from uavdet.analysis.samples import SIZES, describe_size, level_name, open_samples, size_of
from uavdet.errors import ConfigError, DataError, UsageError

ROWS = [(0, 0.5, 0.25, 0.1, 0.2), (1, 0.95, 0.5, 0.1, 0.5)]


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Return the file of a small detector of each family, by its YAML."""
    folder = tmp_path_factory.mktemp("detectors")
    names = ("so-detr-n-thumb2.yaml", "rtdetr-n.yaml", "yolo11n.yaml")
    return {name: str(write_detector(name, folder / f"{name}.pt")) for name in names}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the YAML of five images, two of them without an object."""
    rows = {"a": ROWS, "b": [], "c": ROWS[:1], "d": None, "e": ROWS[1:]}
    return str(write_images(tmp_path_factory.mktemp("data"), rows))


@pytest.mark.parametrize(
    ("model", "strides", "levels"),
    [
        ("so-detr-n-thumb2.yaml", [16, 32, 64], ["P4", "P5", "P6"]),
        ("rtdetr-n.yaml", [8, 16, 32], ["P3", "P4", "P5"]),
        ("yolo11n.yaml", [8, 16, 32], ["P3", "P4", "P5"]),
    ],
)
def test_every_family_opens_frozen_and_with_its_levels(detectors, data, model, strides, levels):
    samples = open_samples({"model": detectors[model], "data": data, "imgsz": [64, 128]})
    assert (samples.strides, samples.levels, samples.size) == (strides, levels, (64, 128))
    assert not samples.model.training
    assert not any(parameter.requires_grad for parameter in samples.model.parameters())
    sample = next(iter(samples))
    samples.model.predict(sample.image)
    shapes = [tuple(maps.shape[2:]) for maps in samples.recorder.head_inputs]
    assert shapes == [(64 // stride, 128 // stride) for stride in strides]


def test_the_size_is_the_one_that_the_weights_were_trained_for(detectors, data):
    assert open_samples({"model": detectors["rtdetr-n.yaml"], "data": data}).size == (128, 128)


def test_images_of_a_detr_are_stretched(detectors, data):
    sample = next(iter(open_samples({"model": detectors["rtdetr-n.yaml"], "data": data, "imgsz": [64, 128]})))
    picture = cv2.imread(f"{data[: -len('data.yaml')]}images/val/a.png")
    expected = cv2.resize(picture, (128, 64), interpolation=cv2.INTER_LINEAR)[..., ::-1]
    np.testing.assert_array_equal(sample.picture, expected)
    np.testing.assert_allclose(sample.image[0].permute(1, 2, 0).numpy(), expected / 255, atol=1e-6)
    np.testing.assert_allclose(sample.boxes.numpy(), [row[1:] for row in ROWS], atol=1e-6)
    assert sample.classes.tolist() == [0, 1]
    assert (sample.name, sample.regions, sample.content) == ("a.png", None, (0, 0, 1, 1))
    assert sample.scale == (160 / 128, 96 / 64)
    np.testing.assert_allclose(sample.sides, [np.sqrt(16 * 19.2), np.sqrt(16 * 48)], rtol=1e-6)


def test_images_of_a_yolo_keep_their_aspect(detectors, data):
    """160x96 pixels on a square of 64: 64x38.4, padded by 12.8 above and below."""
    sample = next(iter(open_samples({"model": detectors["yolo11n.yaml"], "data": data, "imgsz": 64})))
    assert sample.image.shape == (1, 3, 64, 64)
    assert sample.scale == (2.5, 2.5)
    np.testing.assert_allclose(sample.content, [0, 0.2, 1, 0.8])
    expected = [[0.5, 0.2 + 0.25 * 0.6, 0.1, 0.2 * 0.6], [0.95, 0.5, 0.1, 0.3]]
    np.testing.assert_allclose(sample.boxes.numpy(), expected, atol=1 / 64)  # padding is whole pixels
    np.testing.assert_allclose(sample.sides, [np.sqrt(16 * 19.2), np.sqrt(16 * 48)], rtol=1e-6)
    assert (sample.picture[:12] == 114).all()


@pytest.mark.parametrize(("images", "names"), [(1, "a"), (2, "ae"), (3, "ace"), (99, "ace")])
def test_images_with_objects_are_taken_at_even_distances(detectors, data, images, names):
    samples = open_samples({"model": detectors["rtdetr-n.yaml"], "data": data, "imgsz": 64, "images": images})
    assert [sample.name[0] for sample in samples] == list(names)
    assert len(samples) == len(names)


def test_ignored_regions_come_along(detectors, tmp_path):
    file = write_images(tmp_path, {"a": ROWS})
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 96}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}],
        "annotations": [],
        "ignore_regions": [{"image_id": 1, "bbox": [16, 24, 32, 48]}],
    }
    (tmp_path / "val.json").write_text(json.dumps(truth))
    file.write_text(f"{file.read_text()}\nannotations: {{val: val.json}}")
    sample = next(iter(open_samples({"model": detectors["rtdetr-n.yaml"], "data": str(file), "imgsz": 64})))
    np.testing.assert_allclose(sample.regions.numpy(), [[0.1, 0.25, 0.3, 0.75]], atol=1e-6)
    assert len(sample.boxes) == len(sample.sides) == 2


def test_images_without_an_object_are_refused(detectors, tmp_path):
    data = write_images(tmp_path, {"a": [], "b": None})
    with pytest.raises(DataError, match=r"data\.yaml: no image of 'val:' has an object to look at"):
        open_samples({"model": detectors["rtdetr-n.yaml"], "data": str(data), "imgsz": 64})


def test_damaged_labels_are_an_error_unless_they_are_to_be_left_out(detectors, tmp_path):
    options = {"model": detectors["rtdetr-n.yaml"], "data": str(write_images(tmp_path, {"a": ROWS, "b": ROWS}))}
    (tmp_path / "labels/val/a.txt").write_text("0 0.5 0.5 0.1 0.1\n0 nan 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match=r"a\.txt.*2"):
        open_samples({**options, "imgsz": 64})
    samples = open_samples({**options, "imgsz": 64, "skip_bad": True})
    assert [sample.name for sample in samples] == ["b.png"]


def test_pixels_that_cannot_be_decoded_are_an_error_unless_they_are_to_be_left_out(detectors, tmp_path):
    """The header and the end of the file are whole, so that only decoding tells."""
    options = {"model": detectors["rtdetr-n.yaml"], "data": str(write_images(tmp_path, {"a": ROWS, "b": ROWS}))}
    file = tmp_path / "images/val/a.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:60] + bytes(len(whole) - 80) + whole[-20:])
    if cv2.imread(str(file)) is not None:
        pytest.skip("this OpenCV decodes the damaged file")
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        list(open_samples({**options, "imgsz": 64}))
    assert [sample.name for sample in open_samples({**options, "imgsz": 64, "skip_bad": True})] == ["b.png"]
    with pytest.raises(DataError, match="none of the chosen images can be decoded"):
        list(open_samples({**options, "imgsz": 64, "skip_bad": True, "images": 1}))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": None}, ConfigError, "No dataset was given"),
        ({"data": "gone.yaml"}, ConfigError, "gone.yaml"),
        ({"split": "test"}, ConfigError, "has no 'test:' entry"),
        ({"imgsz": 100}, UsageError, "imgsz=100 is not allowed"),
        ({"device": "7"}, UsageError, "device=7 is not available"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(detectors, data, options, error, message):
    given = {"model": detectors["rtdetr-n.yaml"], "data": data, "imgsz": 64}
    with pytest.raises(error, match=message) as caught:
        open_samples({**given, **options})
    assert "\n" not in str(caught.value)


def test_exported_files_and_other_channels_are_refused(detectors, data, tmp_path, monkeypatch):
    from types import SimpleNamespace

    import uavdet.analysis.samples as module

    other = write_images(tmp_path, {"a": ROWS}, channels=1)
    with pytest.raises(UsageError, match=r"The model takes images of 3 channels, .*channels: 1"):
        open_samples({"model": detectors["rtdetr-n.yaml"], "data": str(other), "imgsz": 64})
    monkeypatch.setattr(module, "UAVDet", lambda given: SimpleNamespace(module=None))
    with pytest.raises(UsageError, match=r"model=x\.onnx is an exported file, which shows .* none of its features"):
        open_samples({"model": "x.onnx", "data": data})


def test_other_classes_are_refused_where_they_matter(detectors, tmp_path):
    data = write_images(tmp_path, {"a": ROWS}, names=("boat", "car"))
    samples = open_samples({"model": detectors["rtdetr-n.yaml"], "data": str(data), "imgsz": 64})
    with pytest.raises(UsageError, match=r"model=x: The model has 2 classes \(person, car\).*Look at data with"):
        samples.check_classes("x")


@pytest.mark.parametrize(
    ("side", "size", "text"),
    [
        (0.5, "very tiny", "very tiny, < 8 px"),
        (8.0, "tiny", "tiny, 8\u201316 px"),
        (15.99, "tiny", "tiny, 8\u201316 px"),
        (16.0, "small", "small, 16\u201332 px"),
        (32.0, "medium", "medium, 32\u201364 px"),
        (64.0, "large", "large, \u2265 64 px"),
        (1e4, "large", "large, \u2265 64 px"),
    ],
)
def test_sizes_are_those_of_ai_tod(side, size, text):
    assert size_of(side) == size
    assert describe_size(size) == text
    assert list(SIZES) == ["very tiny", "tiny", "small", "medium", "large"]


def test_levels_are_named_by_their_stride():
    assert [level_name(stride) for stride in (4, 8, 128, 12)] == ["P2", "P3", "P7", "stride 12"]


def test_gradients_of_one_image_are_right(detectors, data):
    """On CPUs they would not be without `make_gradients_contiguous`."""
    samples = open_samples({"model": detectors["rtdetr-n.yaml"], "data": data, "imgsz": 64})
    samples.model.predict(next(iter(samples)).image)
    maps = [level.detach().clone().requires_grad_() for level in samples.recorder.head_inputs]
    memory = samples.model.model[-1]._get_encoder_input(maps)[0]
    gradient = torch.autograd.grad(memory[0, 9].sum(), maps)[0]
    assert gradient[0].norm(dim=0).nonzero().tolist() == [[1, 1]]
