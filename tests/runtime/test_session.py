"""Sessions over small networks whose rows are known, and over files that are no good."""

import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.runtime.networks import NEAR, ROWS, write_network
from uavdet.errors import CheckpointError, DataError, UsageError
from uavdet.runtime import Detector, Session

pytest.importorskip("onnxruntime")

BLACK = np.zeros((64, 128, 3), np.uint8)
BOXES = [[51.2, 19.2, 76.8, 44.8], [25.6, 28.8, 38.4, 35.2]]
"""`ROWS` in an image of 128 x 64 pixels, worked out by hand."""


def test_the_session_knows_the_network(tmp_path):
    session = Session(write_network(tmp_path / "x.onnx", batch=2))
    assert session.names == {0: "person", 1: "car"}
    assert session.imgsz == (32, 64)
    assert (session.batch, session.largest_batch, session.channels, session.stride) == (2, 2, 3, 32)
    assert (session.device, session.provider, session.skipped) == ("cpu", "CPUExecutionProvider", ())
    assert session.network.precision == "fp32"
    assert session.metadata["uavdet"]["schema"] == 2


@pytest.mark.parametrize("device", ["CPU", "Cpu", "", None, "auto"])
def test_the_cpu_may_be_written_in_any_case(device, tmp_path):
    detector = Detector(write_network(tmp_path / "x.onnx"), device=device)
    assert detector.session.provider == "CPUExecutionProvider"
    assert detector.detect([]) == []


def test_rows_become_boxes(tmp_path):
    found = Detector(write_network(tmp_path / "x.onnx"))(BLACK)
    np.testing.assert_allclose(found.boxes, BOXES, rtol=1e-5)
    np.testing.assert_allclose(found.scores, [0.5, 0.3])
    assert found.class_names == ["car", "person"]


PIXELS = [[0.4 * 64, 0.3 * 32, 0.6 * 64, 0.7 * 32, 0.5, 1], [0.2 * 64, 0.45 * 32, 0.3 * 64, 0.55 * 32, 0.3, 0]]
RAW = ([row[:4] for row in reversed(ROWS)], [[0.3, 0.01], [0.02, 0.5]])


@pytest.mark.parametrize(
    ("settings"),
    [
        {"output": "detections"},
        {"output": "deepstream", "rows": PIXELS},
        {"output": "raw", "rows": RAW},
        {"input_type": TensorProto.UINT8, "ours": {"preprocessing": {"color": "BGR", "layout": "NHWC"}}},
        {"input_type": TensorProto.FLOAT16},
        {"ours": False},
        {"ours": {"schema": 1}},
        {"ours": False, "metadata": {"head": None, "task": None, "stride": None}},
        {"channels": 1},
        {"channels": 1, "input_type": TensorProto.UINT8, "ours": {"preprocessing": {"color": "grey"}}},
    ],
)
@pytest.mark.parametrize("batch", [1, 3, "batch"])
def test_every_layout_gives_the_same_detections(settings, batch, tmp_path):
    detector = Detector(write_network(tmp_path / "x.onnx", batch=batch, gain=0.1, **settings))
    white = np.full_like(BLACK, 255)
    for found, added in zip(
        detector.detect([BLACK, white]), (0.0, 0.1 * (1 if not _is_uint8(settings) else 255)), strict=True
    ):
        np.testing.assert_allclose(found.boxes, BOXES, rtol=1e-5)
        np.testing.assert_allclose(found.scores, [0.5 + added, 0.3 + added], rtol=1e-4)
        assert found.classes.tolist() == [1, 0]


def _is_uint8(settings):
    return settings.get("input_type") == TensorProto.UINT8


@pytest.mark.parametrize("batch", [1, 2, "batch"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_any_number_of_images_runs_in_order(batch, count, tmp_path):
    detector = Detector(write_network(tmp_path / "x.onnx", batch=batch, gain=0.5, rows=ROWS[:1]))
    levels = [17 * index for index in range(count)]
    found = detector.detect([np.full((10 + level, 20, 3), level, np.uint8) for level in levels])
    assert [each.scores[0] for each in found] == pytest.approx([0.5 + level / 510 for level in levels], rel=1e-5)
    assert [each.boxes[0, 3] for each in found] == pytest.approx([0.7 * (10 + level) for level in levels], rel=1e-5)


def test_a_batch_of_arrays_is_split_and_filled_up(tmp_path):
    session = Session(write_network(tmp_path / "x.onnx", batch=2, gain=1.0, rows=ROWS[:1]))
    batch = np.ones((3, 3, 32, 64), np.float32) * np.array([0.1, 0.2, 0.3], np.float32)[:, None, None, None]
    np.testing.assert_allclose(session.run(batch)[:, 0, 4], [0.6, 0.7, 0.8], rtol=1e-5)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 3, 32, 64)),
        np.zeros((1, 3, 32, 65), np.float32),
        np.zeros((3, 32, 64), np.float32),
        np.zeros((0, 3, 32, 64), np.float32),
        np.zeros((1, 32, 64, 3), np.uint8),
        None,
    ],
)
def test_other_batches_are_refused(batch, tmp_path):
    session = Session(write_network(tmp_path / "x.onnx"))
    with pytest.raises(UsageError, match=r"The batch is .* takes float32 \(B, 3, 32, 64\)"):
        session.run(batch)


@pytest.mark.parametrize(
    "settings",
    [
        {"conf": -0.1},
        {"conf": 1.5},
        {"conf": "high"},
        {"iou": 2},
        {"iou": "often"},
        {"iou": "none"},
        {"conf": None},
        {"max_det": 0},
        {"max_det": 2.5},
        {"classes": 3},
        {"classes": "0"},
        {"classes": {"0"}},
        *({"threads": given} for given in (0, -1, 1.5, True, 5000)),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, tmp_path):
    with pytest.raises(UsageError, match=r"is not allowed|classes=0 is no class of .*x.onnx, which has 0 to 1"):
        Detector(write_network(tmp_path / "x.onnx"), **settings)


def test_other_numbers_of_channels_run_as_arrays_alone(tmp_path):
    path = write_network(tmp_path / "x.onnx", channels=4)
    with pytest.raises(CheckpointError, match="images of 4 channels"):
        Detector(path)
    assert Session(path).run(np.zeros((3, 4, 32, 64), np.float32)).shape == (3, 2, 6)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("column", [0, 3, 4])
def test_numbers_that_are_not_finite_are_an_error(value, kind, column, tmp_path):
    rows = np.array(ROWS)
    rows[1, column] = value
    detector = Detector(write_network(tmp_path / "x.onnx", rows=rows, batch="batch"))
    with pytest.raises(CheckpointError, match=f"gave {kind} on device=cpu: 3 of 36 values of output 0, for image 0"):
        detector.detect([BLACK] * 3)


def test_the_image_that_gives_nan_is_named(tmp_path):
    path = write_network(tmp_path / "x.onnx", batch="batch", gain=1e37, input_type=TensorProto.UINT8)
    detector, bright = Detector(path), np.full((32, 64, 3), 255, np.uint8)
    with pytest.raises(CheckpointError, match="gave infinity on device=cpu: 2 of 24 values of output 0, for image 1"):
        detector.detect([BLACK, bright])
    assert len(detector(BLACK)) == 2


@pytest.mark.parametrize("category", [2, -1, 0.25])
def test_a_class_without_a_name_is_an_error(category, tmp_path):
    detector = Detector(write_network(tmp_path / "x.onnx", rows=[[*ROWS[0][:5], category]]))
    with pytest.raises(CheckpointError, match=f"gave class {category}, but names classes 0 to 1"):
        detector(BLACK)


def test_several_threads_may_call_one_detector(tmp_path):
    detector = Detector(write_network(tmp_path / "x.onnx", gain=0.5, rows=ROWS[:1]), threads=1)
    wrong = []

    def work(level):
        for _ in range(50):
            score = detector(np.full((40, 40, 3), level, np.uint8)).scores[0]
            if abs(score - 0.5 - level / 510) > 1e-5:
                wrong.append((level, score))

    threads = [threading.Thread(target=work, args=(level,)) for level in (0, 60, 120, 180)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("image", [BLACK, BLACK[..., 0], BLACK[0, 0]])
def test_one_array_is_not_taken_for_a_list_of_images(image, tmp_path):
    detector = Detector(write_network(tmp_path / "x.onnx"))
    with pytest.raises(DataError, match=r"The images are one array .* Give a list"):
        detector.detect(image)
    assert len(detector.detect(np.stack([BLACK] * 3))) == 3


@pytest.mark.parametrize(("max_det", "kept"), [(None, 400), (350, 350), (1, 1)])
def test_all_rows_of_a_file_are_detections_unless_told_otherwise(max_det, kept, tmp_path):
    centres = np.linspace(0.002, 0.8, 400).tolist()  # apart, so that none is a duplicate
    rows = [[centre, 0.5, 0.001, 0.5, 0.9, 1] for centre in centres]
    detector = Detector(write_network(tmp_path / "x.onnx", rows=rows), max_det=max_det)
    assert len(detector(BLACK)) == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [({}, 2), ({"iou": None}, 2), ({"iou": "0.7"}, 2), ({"iou": 1}, 3)],
)
def test_duplicates_go_unless_told_otherwise(given, kept, tmp_path):
    detector = Detector(write_network(tmp_path / "x.onnx", rows=[*ROWS[:1] * 9, NEAR, ROWS[1]]), **given)
    assert len(detector(BLACK)) == kept


@pytest.mark.parametrize(("rows", "kept"), [(None, 2), (1, 1), (3, 3), (300, 4), ("many", 2), (-1, 2)])
def test_raw_outputs_give_as_many_rows_as_the_file_says(rows, kept, tmp_path):
    detector = Detector(
        write_network(tmp_path / "x.onnx", output="raw", rows=RAW, ours={"rows": rows}, batch="batch"), conf=0
    )
    assert [len(found) for found in detector.detect([BLACK] * 3)] == [kept] * 3


def test_warming_up_runs_black_images(tmp_path):
    session = Session(write_network(tmp_path / "x.onnx", batch=2))
    session.warm_up(2)
    Detector(tmp_path / "x.onnx").warm_up()


def _saved(path, change):
    model = onnx.load(str(write_network(path)))
    change(model)
    onnx.save(model, str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text("no graph"), "is damaged or no ONNX file: it cannot be parsed"),
        (lambda path: path.write_bytes(bytes(1000)), "is damaged or no ONNX file"),
        (lambda path: path.write_bytes(write_network(path).read_bytes()[:-30]), "is damaged or no ONNX file"),
        (lambda path: _saved(path, lambda m: setattr(m, "ir_version", 99)), r"format 99; ONNX Runtime \S+ reads up to"),
        (lambda path: _saved(path, lambda m: setattr(m.opset_import[0], "version", 99)), "operator set 99; ONNX Run"),
        (lambda path: _saved(path, lambda m: setattr(m.graph.node[1], "op_type", "Foo")), "cannot be run by .* Foo"),
    ],
)
def test_files_that_are_no_good_are_refused_in_one_line(make, message, tmp_path):
    make(tmp_path / "x.onnx")
    with pytest.raises(CheckpointError, match=message) as caught:
        Session(tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "x.onnx") in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metadata": {"names": None}}, "does not say its classes"),
        ({"metadata": {"imgsz": None}}, "does not say its classes and input size"),
        ({"metadata": {"names": "nothing"}}, "does not say its classes"),
        ({"metadata": {"imgsz": "[32, -64]"}}, "does not say"),
        ({"metadata": {"imgsz": "[64, 32]"}}, r"takes images of \[1, 3, 32, 64\], but says imgsz=\[64, 32\]"),
        ({"rows": [[0.5, 0.5, 0.2, 0.4, 0.5]]}, r"gives output0 \[1, 1, 5\]; output=detections is rows \(B, K, 6\)"),
        ({"output": "raw", "rows": RAW[::-1]}, r"output=raw is boxes \(B, K, 4\)"),
        ({"ours": {"output": "masks"}}, "has output=masks"),
        ({"ours": {"schema": 3}}, "written by a newer uavdet: its schema is 3"),
        ({"ours": {"preprocessing": {"resize": "letterbox"}}}, "prepared by 'letterbox'"),
        ({"ours": {"preprocessing": {"color": "grey"}}}, "3 channels, but says color=grey"),
        ({"input_type": TensorProto.INT32}, "takes images tensor.int32. .*, not one batch of images"),
        ({"ours": False, "metadata": {"head": "Detect"}}, "is no DETR that detects .task detect, head Detect"),
        ({"ours": False, "metadata": {"end2end": "True", "head": None}}, "is no DETR"),
        ({"ours": False, "metadata": {"task": "pose"}}, "is no DETR that detects .task pose"),
    ],
)
def test_networks_that_are_not_ours_are_refused(settings, message, tmp_path):
    with pytest.raises(CheckpointError, match=message) as caught:
        Session(write_network(tmp_path / "x.onnx", **settings))
    assert "\n" not in str(caught.value)


def test_images_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match="Image 0 is NoneType"):
        Detector(write_network(tmp_path / "x.onnx"))(None)
