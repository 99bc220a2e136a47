"""The Python API: sources, results, and what they have in common with the command line."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from uavdet import UAVDet
from uavdet.cli import main
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.errors import CheckpointError, DataError, UsageError
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
    from uavdet.video.tracking import TrackerConfig

    class Predictor(OurResults, StillDetector):
        def __init__(self):
            self._trackers, self.args, self.dataset = {}, SimpleNamespace(vid_stride=1), SimpleNamespace(fps=10)
            self.tracker = TrackerConfig("botsort", {})

    predictor = Predictor()
    for _ in range(3):
        result = predictor.postprocess(None, None, [frames[0]])[0]
        assert len(result.boxes) == 2, "the box outside the image is gone"
        assert sorted(result.boxes.id.tolist()) == [1, 2]
        assert result.boxes.xyxy.max() <= 160
        assert {int(c): int(i) for c, i in zip(result.boxes.cls, result.boxes.id, strict=True)} == {0: 1, 1: 2}


def test_persist_keeps_tracks_between_calls(model, frames):
    model.track(frames[0], persist=True, conf=0.001, verbose=False)
    kept = model._predictor[1]._trackers
    before = dict(kept)
    model.track(frames[1], persist=True, conf=0.001, verbose=False)
    assert all(kept[key] is before[key] for key in before)
    model.track(frames[1], conf=0.001, verbose=False)
    assert all(kept[key] is not before[key] for key in before if key in kept)


def test_exported_files_give_the_same_results(model, frames, tmp_path):
    path = model.export(format="onnx", out=str(tmp_path / "x.onnx"))
    given = UAVDet(path)(frames[0], conf=0.001, verbose=False)[0]
    expected = model(frames[0], conf=0.001, verbose=False)[0]
    assert given.names == expected.names
    np.testing.assert_allclose(np.sort(given.boxes.conf), np.sort(expected.boxes.conf), atol=1e-3)


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


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, d: m.predict(d / "gone.jpg"), DataError, "cannot be read"),
        (lambda m, d: m.predict(d), DataError, "cannot be read"),
        (lambda m, d: m.predict(), UsageError, "No source"),
        (lambda m, d: m.predict("x.jpg", imgsz=1), UsageError, "imgsz=1"),
        (lambda m, d: m.predict("x.jpg", cnf=1), UsageError, "Did you mean 'conf'"),
        (lambda m, d: m.predict("x.jpg", iou=0.5), UsageError, "belongs to YOLO"),
        (lambda m, d: m.track("x.mp4", tracker="gone.yaml"), UsageError, "tracker=gone.yaml is unknown"),
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
    assert "holds nothing that could be read" in capsys.readouterr().err
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
