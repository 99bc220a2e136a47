"""The Python API: sources, results, and what they have in common with the command line."""

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import batched_nms

from uavdet import UAVDet, demo
from uavdet.cli import main
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.engine.validator import as_printed
from uavdet.errors import CheckpointError, DataError, UsageError
from uavdet.evaluation.protocol import Score
from uavdet.evaluation.run_files import read_run
from uavdet.runtime import Detector
from uavdet.video.writer import VideoWriter

SCENE = SceneConfig(seed=1, size=(160, 128), modality="thermal", objects=5)


@pytest.fixture(scope="module")
def frames():
    return [frame.image for frame in Scene(SCENE).frames(5)]


@pytest.fixture(scope="module")
def folder(frames, tmp_path_factory):
    """Return a folder with two pictures, and a clip beside it."""
    folder = tmp_path_factory.mktemp("source") / "pictures"
    folder.mkdir()
    for index in range(2):
        cv2.imwrite(str(folder / f"{index}.jpg"), frames[index])
    with VideoWriter(folder.parent / "clip.mp4", 10) as writer:
        for frame in frames:
            writer.write(frame)
    return folder


@pytest.fixture
def model(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return UAVDet(tiny_run.best)


def test_every_kind_of_source_gives_results(model, folder, frames):
    kinds = {
        str(folder / "0.jpg"): 1, str(folder): 2, str(folder / "*.jpg"): 2, str(folder.parent / "clip.mp4"): 5,
    }  # fmt: skip
    for source, count in kinds.items():
        assert len(model.predict(source, conf=0.0, verbose=False)) == count, source
    assert len(model(frames[0], verbose=False)) == 1
    assert len(model(frames[:3], verbose=False)) == 3
    assert len(model(Image.fromarray(frames[0][..., ::-1]), verbose=False)) == 1
    assert len(model(folder / "0.jpg", verbose=False)) == 1


def test_nothing_is_written_unless_asked_for(model, folder, tmp_path):
    model.predict(str(folder), verbose=False)
    assert not (tmp_path / "runs").exists()
    model.predict(str(folder), save=True, save_txt=True, save_conf=True, conf=0.001, verbose=False)
    written = {path.name for path in (tmp_path / "runs" / "predict" / "predict").iterdir()}
    assert {"0.jpg", "1.jpg", "labels"} <= written


def test_streams_are_read_one_result_at_a_time(model, folder):
    results = model.predict(str(folder.parent / "clip.mp4"), stream=True, verbose=False)
    assert next(iter(results)).orig_shape == (128, 160)
    results.close()


def test_boxes_are_clipped_to_the_image(model, frames):
    result = model(frames[0], conf=0.0, verbose=False)[0]
    boxes = result.boxes.xyxy
    assert len(boxes)
    assert boxes.min() >= 0
    assert boxes[:, ::2].max() <= 160
    assert boxes[:, 1::2].max() <= 128
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_results_equal_the_network(model, frames):
    from uavdet.runtime.preprocess import stretch_images

    with torch.no_grad():
        rows = model.module.eval()(torch.from_numpy(stretch_images([frames[0]], (64, 64))))[0][0]
    result = model(frames[0], conf=0.0, verbose=False)[0]
    np.testing.assert_allclose(result.boxes.conf.numpy(), rows[:, 4].numpy()[: len(result.boxes)], atol=1e-4)


def test_the_size_of_training_is_the_default_and_others_may_be_given(model, frames):
    model(frames[0], verbose=False)
    assert model._predictor[1].imgsz == [64, 64]
    model(frames[0], imgsz=[96, 160], verbose=False)
    assert model._predictor[1].imgsz == [96, 160]


def test_the_queries_of_a_model_are_those_of_its_training(tiny_data, tmp_path):
    model = UAVDet("rtdetr-n.yaml", queries=12)
    settings = {"imgsz": 64, "batch": 4, "epochs": 1, "plots": False, "verbose": False}
    model.train(data=str(tiny_data), project=str(tmp_path), **settings)
    assert model.checkpoint.meta["yaml"]["queries"] == 12


def test_the_predictor_is_kept_while_its_settings_hold(model, frames):
    model(frames[0], verbose=False)
    first = model._predictor[1]
    model(frames[1], verbose=False)
    assert model._predictor[1] is first
    model(frames[1], conf=0.4, verbose=False)
    assert model._predictor[1] is not first


def test_tracks_have_identities(model, folder, frames):
    results = model.track(str(folder.parent / "clip.mp4"), conf=0.001, verbose=False)
    assert len(results) == 5
    assert all(result.boxes.id is None or (result.boxes.id >= 1).all() for result in results)
    assert all(result.boxes.is_track for result in results if len(result.boxes))


class StillDetector:
    """Stands for a predictor that finds the same object in every frame."""

    def postprocess(self, preds, img, orig_imgs):
        from ultralytics.engine.results import Results

        boxes = torch.tensor([[20.0, 20, 60, 60, 0.9, 0], [150.0, 100, 999, 300, 0.8, 1], [-9, -9, -1, -1, 0.7, 0]])
        return [Results(image, path="a.mp4", names={0: "x", 1: "y"}, boxes=boxes.clone()) for image in orig_imgs]


def test_tracking_keeps_confirmed_objects_and_their_order(frames):
    from types import SimpleNamespace

    from uavdet.engine.predictor import OurResults
    from uavdet.video.tracking import SourceTracker, TrackerConfig

    class Predictor(OurResults, StillDetector):
        def __init__(self):
            self.args, self.dataset = SimpleNamespace(vid_stride=1), SimpleNamespace(fps=10)
            self.tracks = SourceTracker(TrackerConfig("botsort", {}))

    predictor = Predictor()
    for _ in range(3):
        result = predictor.postprocess(None, None, [frames[0]])[0]
        assert len(result.boxes) == 2, "the box outside the image is gone"
        assert sorted(result.boxes.id.tolist()) == [1, 2]
        assert result.boxes.xyxy.max() <= 160
        assert {int(c): int(i) for c, i in zip(result.boxes.cls, result.boxes.id, strict=True)} == {0: 1, 1: 2}


def test_persist_keeps_tracks_between_calls(model, frames):
    model.track(frames[0], persist=True, conf=0.001, verbose=False)
    kept = model._tracks
    model.predict(frames[0], verbose=False)
    model.track(frames[1], persist=True, conf=0.01, verbose=False)
    assert model._tracks is kept
    model.track(frames[1], conf=0.001, verbose=False)
    assert model._tracks is not kept


@pytest.fixture(scope="module")
def demo_frames():
    """Return frames in which the bundled weights find objects."""
    return [frame.image for frame in Scene(demo._SCENE).frames(3)]


@pytest.fixture(scope="module")
def bundled():
    return UAVDet()


@pytest.mark.parametrize("kind", ["folder", "arrays", "paths", "pil", "calls", "path calls"])
def test_a_sequence_of_images_is_tracked_as_a_video_is(bundled, demo_frames, tmp_path, kind):
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for file, frame in zip(files, demo_frames, strict=True):
        cv2.imwrite(str(file), frame)

    def track(source, **options):
        return bundled.track(source, verbose=False, **options)

    results = {
        "folder": lambda: track(tmp_path),
        "arrays": lambda: track(demo_frames),
        "paths": lambda: track([str(file) for file in files]),
        "pil": lambda: track([Image.open(file) for file in files]),
        "calls": lambda: [track(frame, persist=index > 0)[0] for index, frame in enumerate(demo_frames)],
        "path calls": lambda: [track(file, persist=index > 0)[0] for index, file in enumerate(files)],
    }[kind]()
    boxes = [dict(zip(r.boxes.id.int().tolist(), r.boxes.xyxy.tolist(), strict=True)) for r in results]
    moved = [np.abs(np.subtract(boxes[0][i], boxes[-1][i])).max() for i in boxes[0].keys() & boxes[-1].keys()]
    assert len(moved) >= 3
    assert np.median(moved) < 20, "an identity stays with its object"
    tracker = bundled._tracks._slots[0].tracker._tracker
    assert tracker.frame_id == 3, "one tracker saw all frames"


def test_generators_of_one_model_run_side_by_side(model, frames):
    first = model.predict(frames[:2], stream=True, verbose=False)
    second = model.predict(frames[2:4], stream=True, verbose=False)
    script = iter([next(first), next(second)])
    assert all(result.orig_shape == (128, 160) for result in script)
    assert len(model.predict(frames[0], verbose=False)) == 1, "with one suspended, another call goes on"
    assert len([*first, *second]) == 2


def test_export_reads_its_size_and_names_back(model, frames, tmp_path):
    path = model.export(format="onnx", imgsz=[64, 96], dynamic=True, out=str(tmp_path / "open.onnx"))
    exported = UAVDet(path)
    assert exported.names == model.names
    assert len(exported(frames[0], verbose=False)) == 1
    assert exported._predictor[1].imgsz == [64, 96]
    for options, message in [
        ({"imgsz": 128}, "takes 64,96"),
        ({"half": True}, "half=True has no effect"),
        ({"queries": 5}, "queries=5 has no effect"),
    ]:
        with pytest.raises(UsageError, match=message):
            exported.predict(frames[0], **options)
    with pytest.raises(UsageError, match="queries=5 has no effect"):
        UAVDet(path, queries=5)


def test_exported_files_are_validated_on_their_classes_alone(model, tiny_data, tmp_path):
    exported = UAVDet(model.export(format="onnx", dynamic=True, out=str(tmp_path / "x.onnx")))
    assert "coco/AP" in exported.val(data=str(tiny_data), plots=False, batch=2, verbose=False)
    (tmp_path / "images").mkdir()
    (tmp_path / "d.yaml").write_text("val: images\nnames: [a, b, c]\n")
    with pytest.raises(UsageError, match=r"The model has 2 classes \(person, car\)"):
        exported.val(data=str(tmp_path / "d.yaml"))


@pytest.mark.parametrize("dynamic", [True, False])
def test_exported_files_of_two_sides_are_validated_at_them(model, tiny_data, tmp_path, dynamic):
    path = model.export(format="onnx", imgsz=[64, 96], dynamic=dynamic, out=str(tmp_path / "x.onnx"))
    given = UAVDet(path).val(data=str(tiny_data), plots=False, verbose=False)
    expected = model.val(data=str(tiny_data), imgsz=[64, 96], plots=False, verbose=False)
    assert given["coco/AP50"] == pytest.approx(expected["coco/AP50"], abs=1e-3)


def test_files_without_metadata_still_run(model, frames, tmp_path):
    import onnx

    path = model.export(format="onnx", out=str(tmp_path / "x.onnx"))
    graph = onnx.load(str(path))
    del graph.metadata_props[:]
    onnx.save(graph, str(path))
    foreign = UAVDet(path)
    assert foreign.names == {}
    assert foreign.own_size() == 64, "the graph itself fixes the size"
    assert len(foreign(frames[0], verbose=False)) == 1


def test_files_that_are_no_onnx_are_refused_when_opened(tmp_path):
    (tmp_path / "junk.onnx").write_text("junk")
    with pytest.raises(CheckpointError, match="no ONNX file") as caught:
        UAVDet(tmp_path / "junk.onnx")
    assert "\n" not in str(caught.value)


def test_exported_files_give_the_same_results(model, frames, tmp_path):
    path = model.export(format="onnx", out=str(tmp_path / "x.onnx"))
    given = UAVDet(path)(frames[0], conf=0.001, verbose=False)[0]
    expected = model(frames[0], conf=0.001, verbose=False)[0]
    assert given.names == expected.names
    np.testing.assert_allclose(np.sort(given.boxes.conf), np.sort(expected.boxes.conf), atol=1e-3)


def test_duplicates_go_alike_wherever_the_network_runs(model, frames, tiny_data, tmp_path, monkeypatch):
    settings = {"conf": 0.0, "iou": 0.4, "max_det": 6}
    all_boxes = model(frames[0], conf=0.0, iou=1.0, verbose=False)[0].boxes
    kept = batched_nms(all_boxes.xyxy, all_boxes.conf, all_boxes.cls, 0.4)[:6]
    assert 6 == len(kept) < len(all_boxes)
    expected = all_boxes.conf[kept].numpy()
    file, picture = model.export(format="onnx", out=str(tmp_path / "x.onnx")), frames_file(frames[0], tmp_path)

    def scores_of(**given):
        exported = UAVDet(file)
        return [
            *(each(frames[0], verbose=False, **given)[0].boxes.conf.numpy() for each in (model, exported)),
            *(next(iter(each.stream(picture, **given))).detections.scores for each in (model, exported)),
        ]

    for scores in [*scores_of(**settings), Detector(file, **settings)(frames[0]).scores]:
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    for module in ("engine.detecting", "runtime.detector"):  # the default is 0.7, from which none of these boxes goes
        monkeypatch.setattr(f"uavdet.{module}.NMS_IOU", 0.4)
    for scores in scores_of(conf=0.0, max_det=6):
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    plain = model.val(data=str(tiny_data), project=str(tmp_path), name="plain", plots=False)
    fewer = model.val(data=str(tiny_data), project=str(tmp_path), name="fewer", plots=False, iou=0.0)
    assert plain.keys() == fewer.keys()
    runs = [read_run(tmp_path / name) for name in ("plain", "fewer")]
    counts = [sum(len(found.scores) for found in run.detections.values()) for run in runs]
    assert 0 < counts[1] < counts[0]


def frames_file(frame, folder):
    """Return a file of a frame without losses."""
    assert cv2.imwrite(str(folder / "frame.png"), frame)
    return folder / "frame.png"


def test_safetensors_round_trip(model, frames, tmp_path):
    path = model.export(format="safetensors", out=str(tmp_path / "x.safetensors"))
    again = UAVDet(path)
    np.testing.assert_allclose(
        again(frames[0], conf=0.0, verbose=False)[0].boxes.conf,
        model(frames[0], conf=0.0, verbose=False)[0].boxes.conf,
        atol=1e-5,
    )
    assert UAVDet(model.save(tmp_path / "y.pt")).names == model.names


def test_queries_follow_the_user(model, frames):
    result = model(frames[0], queries=5, conf=0.0, verbose=False)[0]
    assert len(result.boxes) <= 5
    assert UAVDet(model.source, queries=7).module.head.num_queries == 7


def test_queries_of_a_call_are_for_that_call_alone(model, frames):
    plain = len(model(frames[0], conf=0.0, verbose=False)[0].boxes)
    assert len(model(frames[0], queries=5, conf=0.0, verbose=False)[0].boxes) < plain
    assert model.module.head.num_queries == 20
    assert len(model(frames[0], conf=0.0, verbose=False)[0].boxes) == plain


def test_max_det_follows_the_models_queries(model, frames, tmp_path):
    many = UAVDet(model.source, queries=500)
    assert many._resolve("predict", {})["max_det"] == 500
    assert many._resolve("predict", {"max_det": 100})["max_det"] == 100
    assert model._resolve("export", {"queries": 500})["max_det"] == 500
    assert UAVDet(many.save(tmp_path / "many.pt"))._resolve("val", {"data": "x"})["max_det"] == 500
    path = model.export(format="onnx", queries=400, imgsz=256, out=str(tmp_path / "x.onnx"))
    assert UAVDet(path).exported.rows == 400
    assert UAVDet(path)._resolve("predict", {})["max_det"] == 400


def test_learned_queries_take_another_number(frames, tmp_path, monkeypatch):
    from uavdet.assets import find_yaml

    text = find_yaml("rtdetr-n.yaml", "cfg/models").read_text()
    changed = re.sub(r"(RTDETRDecoder, \[.*)\], decoder", r"\1, {learnt_init_query: true}], decoder", text)
    (tmp_path / "learned.yaml").write_text(changed)
    monkeypatch.chdir(tmp_path)
    model = UAVDet(tmp_path / "learned.yaml")
    assert model.module.head.learnt_init_query
    assert len(model(frames[0], imgsz=256, queries=400, conf=0.0, verbose=False)[0].boxes) > 300


def test_exports_without_torch_state_hold_what_rebuilds_the_model(model, tmp_path):
    path = model.export(format="safetensors", queries=33, out=str(tmp_path / "x.safetensors"))
    again = UAVDet(path)
    assert again.module.head.num_queries == 33
    assert again.names == model.names


def test_validation_by_a_protocol_without_ap(model, tiny_data, tmp_path):
    metrics = model.val(data=str(tiny_data), imgsz=64, protocol="tinyperson", plots=False, project=str(tmp_path))
    assert metrics["fitness"] == max(metrics["tinyperson/AP50_tiny"], 0)


def test_the_score_of_ultralytics_is_what_its_validator_printed():
    computed = Score("ultralytics", {"P": 0.0, "AP": 0.0}, {"car": {"P": 0.0}}, "rules")
    metrics = SimpleNamespace(
        names={0: "person", 1: "car"},
        ap_class_index=[1],
        class_result=lambda row: (0.1, 0.2, 0.3, 0.4),
        mean_results=lambda: [0.5, 0.6, 0.7, 0.8],
    )
    printed = as_printed(computed, metrics)
    assert printed.metrics == {"P": 0.5, "R": 0.6, "AP50": 0.7, "AP": 0.8}
    assert printed.per_class == {"car": {"P": 0.1, "R": 0.2, "AP50": 0.3, "AP": 0.4}}
    assert (printed.protocol, printed.rules) == ("ultralytics", "rules")


@pytest.mark.parametrize("protocol", ["coco/AP", "metrics/mAP50(B)"])
def test_validation_writes_where_it_says(model, tiny_data, tmp_path, protocol):
    metrics = model.val(data=str(tiny_data), plots=False)
    assert protocol in metrics
    assert metrics["save_dir"] == str(tmp_path / "runs" / "val" / "val")


def test_validation_needs_the_models_classes(model, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "d.yaml").write_text("val: images\nnames: [a, b, c]\n")
    with pytest.raises(UsageError, match=r"The model has 2 classes \(person, car\)"):
        model.val(data=str(tmp_path / "d.yaml"))


def data_with(folder, tiny_data, names):
    (folder / "d.yaml").write_text(f"path: {tiny_data.parent}\ntrain: images/train\nval: images/val\nnames: {names}\n")
    return str(folder / "d.yaml")


@pytest.mark.parametrize(("names", "fits"), [
    ("[Person, CAR]", True), ("[class0, class1]", True), ("['0', '1']", True),
    ("[car, person]", False), ("[person, van]", False),
])  # fmt: skip
def test_class_names_have_to_be_the_models(tmp_path, names, fits):
    import yaml

    from uavdet.engine.calls import check_class_names

    data = dict(enumerate(yaml.safe_load(names)))
    if fits:
        check_class_names({0: "person", 1: "car"}, data, tmp_path)
        check_class_names(data, {0: "person", 1: "car"}, tmp_path)
    else:
        with pytest.raises(UsageError, match="The model has 2 classes"):
            check_class_names({0: "person", 1: "car"}, data, tmp_path)


def test_single_cls_validates_across_numbers_of_classes(model, tiny_data, tmp_path):
    settings = {"plots": False, "verbose": False, "single_cls": True}
    assert model.val(data=data_with(tmp_path, tiny_data, "[a, b, c, d]"), **settings)["coco/AP"] >= 0
    one = UAVDet("rtdetr-n.yaml")
    one.module = type(one.module)(one.module.yaml, 3, 1, 20)
    assert len(one.names) == 1
    assert one.val(data=str(tiny_data), imgsz=64, **settings)["coco/AP"] >= 0


def test_a_confidence_of_zero_is_taken_as_it_is(model, tiny_data, monkeypatch):
    from uavdet.engine.validator import StretchValidator

    seen = []

    def look(validator, **_):
        seen.append(validator.args.conf)
        raise DataError("seen")

    monkeypatch.setattr(StretchValidator, "__call__", look)
    for options in ({"conf": 0}, {}):
        with pytest.raises(DataError):
            model.val(data=str(tiny_data), **options)
    assert seen == [0.0, 0.001]


def test_failed_validations_leave_no_folder(model, tiny_data, tmp_path, monkeypatch):
    from uavdet.data.dataset import StretchDataset

    def fail(*args, **options):
        raise DataError("x")

    monkeypatch.setattr(StretchDataset, "__init__", fail)
    with pytest.raises(DataError):
        model.val(data=str(tiny_data), plots=False)
    assert not (tmp_path / "runs").exists()


def test_half_precision_on_a_cpu_is_warned_of(model, frames, caplog):
    from ultralytics.utils import LOGGER

    LOGGER.addHandler(caplog.handler)
    try:
        model.predict(frames[0], half=True, device="cpu", verbose=False)
    finally:
        LOGGER.removeHandler(caplog.handler)
    assert sum("half=True has no effect on a CPU" in text for text in caplog.messages) == 1


def test_an_edited_tracker_file_is_read_again(model, frames, tmp_path):
    file = tmp_path / "t.yaml"
    file.write_text("tracker: sort\n")
    model.track(frames[0], tracker=str(file), verbose=False)
    file.write_text("tracker: sort\nlost_track_buffer: 7\n")
    model.track(frames[0], tracker=str(file), persist=True, verbose=False)
    assert model._tracks.config.settings == {"lost_track_buffer": 7}


def refused_exports(folder):
    (folder / "file").write_text("")
    return [
        ({"out": str(folder)}, "is a folder"),
        ({"out": str(folder / "file" / "x.onnx")}, "is a file"),
        ({"format": "safetensors", "out": "w.pt"}, "does not end in .safetensors"),
        ({"format": "safetensors", "dynamic": True}, "has no effect on format=safetensors"),
        ({"format": "onnx", "out": "sub/w.pt"}, "does not end in .onnx, but format=onnx. Give out=sub/w.onnx."),
    ]


def test_exports_go_to_files_of_their_kind(model, tmp_path):
    for options, message in refused_exports(tmp_path):
        with pytest.raises(UsageError, match=message):
            model.export(**options)


def test_error_lines_have_no_colour_codes(model, frames, monkeypatch):
    from uavdet.engine import predictor

    def fail(*args, **options):
        raise FileNotFoundError("\x1b[31mred\x1b[0m\nlines")

    monkeypatch.setattr("ultralytics.engine.predictor.load_inference_source", fail)
    with pytest.raises(DataError, match="cannot be read: red lines"):
        model.predict("x.jpg", verbose=False)
    assert predictor._one_line(ValueError("\x1b[1;31mx\x1b[0m")) == "x"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, d: m.predict(d / "gone.jpg"), DataError, "cannot be read"),
        (lambda m, d: m.predict(d), DataError, "cannot be read"),
        (lambda m, d: m.predict(), UsageError, "No source"),
        (lambda m, d: m.predict("x.jpg", imgsz=1), UsageError, "imgsz=1"),
        (lambda m, d: m.predict("x.jpg", cnf=1), UsageError, "Did you mean 'conf'"),
        (lambda m, d: m.predict("x.jpg", iou=1.5), UsageError, "iou=1.5"),
        (lambda m, d: m.track("x.mp4", tracker="gone.yaml"), UsageError, "tracker=gone.yaml is unknown"),
        (lambda m, d: m.predict({"a": 1}), UsageError, "type dict is not taken"),
        (lambda m, d: m.predict(b"x"), UsageError, "type bytes is not taken"),
        (lambda m, d: m.predict([b"x"]), UsageError, "type bytes is not taken"),
        (lambda m, d: m.predict([]), UsageError, "No source"),
        (lambda m, d: m.track(["a.mp4", "b.mp4"]), UsageError, "A list of videos is not taken"),
        (lambda m, d: m.predict(np.array([{}])), UsageError, "array of objects"),
        (lambda m, d: m.predict("x.jpg", batch=-1), UsageError, "batch=-1 is for training alone"),
        (lambda m, d: m.val(data="x", batch=0.5), UsageError, "batch=0.5 is for training alone"),
        (lambda m, d: m.export(batch=-1), UsageError, "batch=-1 is for training alone"),
        (lambda m, d: m.predict("x.jpg", device="banana"), UsageError, "device=banana is not available"),
        (lambda m, d: m.predict("x.jpg", classes=[2]), UsageError, "classes=2 is no class of"),
        (lambda m, d: m.export(device="cpu"), UsageError, "no argument of .uavdet export."),
        (lambda m, d: UAVDet("yolo11n.yaml", queries=3), UsageError, "'queries' has no effect"),
        (lambda m, d: UAVDet(d / "gone.pt"), CheckpointError, "does not exist"),
    ],
)
def test_bad_calls_are_refused_in_one_line(model, tmp_path, call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(model, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_corrupt_picture_is_named_and_the_others_are_read(model, folder, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes((folder / "0.jpg").read_bytes()[:40])
    assert main(["predict", f"model={model.source}", f"source={bad}"]) == 3
    assert "bad.jpg is damaged or no picture" in capsys.readouterr().err
    (tmp_path / "mixed").mkdir()
    for path in (bad, folder / "1.jpg"):
        (tmp_path / "mixed" / path.name).write_bytes(path.read_bytes())
    assert len(model.predict(tmp_path / "mixed", verbose=False)) == 1
    with pytest.raises(DataError, match="cannot be read"):
        model.predict([str(bad)], verbose=False)


def test_stock_models_predict_through_the_same_verbs(frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("yolo11n.yaml", "rtdetr-resnet50.yaml"):
        model = UAVDet(name)
        assert len(model(frames[0], imgsz=64, verbose=False)) == 1
        assert model.info(imgsz=64).params > 2e6
