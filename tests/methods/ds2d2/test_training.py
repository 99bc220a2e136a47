"""Short real runs: an amplifier is trained, a student uses it, stops, goes on, and is a plain detector in the end."""

import csv

import pytest
import torch

from tests.conftest import TINY
from tests.interruption import Interrupted, interrupt_at
from tests.methods.detr_pairs import NAMES, build
from tests.methods.ds2d2.pairs import save_teacher
from uavdet import UAVDet
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.engine.loading import load_model
from uavdet.engine.train import train
from uavdet.methods.ds2d2.wavelet import find_wavelet
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.teacher import Teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return str(save_teacher(tmp_path_factory.mktemp("teacher")))


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
    """Return a function that trains with the method: settings of the run and, with dots, of the method."""
    project = tmp_path_factory.mktemp("runs")

    def start(name, callbacks=None, **options):
        settings = {f"ds2d2.{key[1:]}": options.pop(key) for key in list(options) if key.startswith("_")}
        shared = {**TINY, "data": str(tiny_data), "epochs": 1, "project": str(project), "methods": "ds2d2"}
        if "yolo" in name:
            del shared["queries"]
        return train({**shared, "name": name, **settings, **options}, callbacks)

    return start


@pytest.fixture(scope="module")
def amplifier(run, teacher):
    return run("amplifier", model=teacher, _stage="amplifier", epochs=2, plots=True, warmup_iterations=0, lr0=1e-3)


def columns(folder):
    rows = list(csv.DictReader((folder / "results.csv").open()))
    names = [key for key in rows[0] if key.startswith("train/ds2d2")]
    return {name.removeprefix("train/"): [float(row[name]) for row in rows] for name in names}


def test_an_amplifier_is_its_teacher_with_another_head(amplifier, teacher):
    start, trained = read_checkpoint(teacher), read_checkpoint(amplifier.best)
    assert trained.meta["yaml"]["amplifier"] == {"wavelet": "haar", "padding": "replicate"}
    for key, value in trained.weights.items():
        head = key.startswith("model.decoder.") and "input_proj" not in key
        unused = "denoising_class_embed" in key and torch.equal(value, start.weights[key])
        assert head != torch.allclose(value, start.weights[key], atol=1e-6) or unused or "bias" in key, key
    assert columns(amplifier.save_dir) == {}


def test_it_is_validated_on_what_it_was_trained_on(run, teacher):
    """The moving average, which is validated, has the hooks: its decoder attends to high-frequency maps."""
    seen, image = [], torch.rand(1, 3, 64, 64)

    def look(trainer):
        network = trainer.ema.ema
        handle = network.model[-1].decoder.register_forward_pre_hook(lambda module, given: seen.append(given[2]))
        with torch.no_grad():
            network.predict(image)
        handle.remove()

    run("seen", {"on_fit_epoch_end": [look]}, model=teacher, _stage="amplifier")
    network, _ = load_model(teacher)
    recorder, high = FeatureRecorder(network), find_wavelet("haar").high_frequency
    with torch.no_grad():
        network.eval().predict(image)
    expected = torch.cat([high(maps).flatten(2).mT for maps in recorder.memory], 1)
    torch.testing.assert_close(seen[0], expected, rtol=1e-2, atol=1e-2)


def test_a_student_learns_from_teacher_and_amplifier(run, teacher, amplifier):
    result = run("student", _teacher=teacher, _amplifier=str(amplifier.best), amp="bf16", nbs=8)
    losses = columns(result.save_dir)
    assert list(losses) == ["ds2d2_low_loss", "ds2d2_high_loss", "ds2d2_full_loss", "ds2d2_amplified_loss"]
    assert all(value > 0 for values in losses.values() for value in values)
    assert set(read_checkpoint(result.best).weights) == set(build("rtdetr-n.yaml").state_dict())
    assert UAVDet(result.best).names == NAMES


def test_an_interrupted_run_ends_as_if_it_had_never_stopped(run, teacher, amplifier):
    options = {
        "_teacher": teacher, "_amplifier": str(amplifier.best), "_full": "1:linear", "epochs": 2, "deterministic": True
    }  # fmt: skip
    whole = run("whole", **options)
    with pytest.raises(Interrupted):
        run("cut", interrupt_at(1), **options)
    last = whole.save_dir.parent / "cut" / "weights" / "last.pt"
    assert any("student_extras.ds2d2" in key for key in read_checkpoint(last).training["model"])
    assert not any("student_extras" in key for key in read_checkpoint(last).weights)
    resumed = train({"resume": str(last)})
    expected, given = read_checkpoint(whole.last).weights, read_checkpoint(resumed.last).weights
    assert expected.keys() == given.keys()
    assert all(torch.equal(expected[key], given[key]) for key in expected)
    assert columns(resumed.save_dir) == columns(whole.save_dir)


def test_an_interrupted_amplifier_goes_on(run, teacher, amplifier):
    with pytest.raises(Interrupted):
        run("cut-amplifier", interrupt_at(1), model=teacher, _stage="amplifier", epochs=2)
    resumed = train({"resume": str(amplifier.save_dir.parent / "cut-amplifier" / "weights" / "last.pt")})
    assert read_checkpoint(resumed.best).meta["yaml"]["amplifier"]["wavelet"] == "haar"


def test_methods_share_a_teacher(run, teacher, monkeypatch):
    looks, original = [], Teacher.see
    monkeypatch.setattr(
        Teacher, "see", lambda self, batch: looks.append(batch["img"] is not self._images) or original(self, batch)
    )
    options = {"methods": "ds2d2,so-detr-kd", "so-detr-kd.teacher": teacher}
    result = run("two", _teacher=teacher, _full="0", **options)
    assert len(looks) == 2 * sum(looks)  # both look at every batch, and it is new to the first alone
    assert len(columns(result.save_dir)) == 2


def test_the_yolo_stages(run, tmp_path):
    options = {"warmup_epochs": 0}
    file = save_teacher(tmp_path, "yolo11n.yaml")
    amplifier = run("yolo-amplifier", model=str(file), _stage="amplifier", _wavelet="db2", **options)
    start, trained = read_checkpoint(file), read_checkpoint(amplifier.best)
    assert trained.meta["yaml"]["amplifier"]["wavelet"] == "db2"
    assert all(
        torch.allclose(value, start.weights[key], atol=1e-5)
        for key, value in trained.weights.items()
        if not key.startswith("model.23.")
    )
    student = run(
        "yolo-student",
        model="yolo26n.yaml",
        _teacher=str(file),
        _amplifier=str(amplifier.best),
        _wavelet="db2",
        **options,
    )
    assert len(columns(student.save_dir)) == 4
    assert set(read_checkpoint(student.best).weights) == set(build("yolo26n.yaml").state_dict())


def test_from_python_a_detector_stays_what_it_is_after_training_its_amplifier(tiny_data, teacher, tmp_path):
    detector = UAVDet(teacher)
    options = {key: value for key, value in TINY.items() if key != "model"}
    options |= {"data": str(tiny_data), "epochs": 1, "project": str(tmp_path), "methods": "ds2d2"}
    result = detector.train(**options, **{"ds2d2.stage": "amplifier"})
    assert "amplifier" in read_checkpoint(result.best).meta["yaml"]
    assert detector.source == teacher
