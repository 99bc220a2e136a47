"""Runs that cannot work are refused in one line, before anything is trained or written."""

import pytest
import torch

from tests.conftest import TINY
from tests.methods.detr_pairs import build, save
from tests.methods.ds2d2.pairs import save_teacher
from uavdet import UAVDet
from uavdet.engine.checkpoint import Checkpoint, describe_model, save_checkpoint
from uavdet.engine.plan import plan_training
from uavdet.engine.pretrained import load_pretrained
from uavdet.engine.trainer import build_trainer
from uavdet.errors import CheckpointError, UAVDetError, UsageError
from uavdet.methods.ds2d2.amplifier_file import mark_amplifier
from uavdet.methods.ds2d2.wavelet import find_wavelet


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")

    def spoilt(name, change):
        model = build("rtdetr-n.yaml", 7)
        mark_amplifier(model, find_wavelet("haar"))
        weights = model.state_dict()
        change(weights)
        return save_checkpoint(Checkpoint(weights, describe_model(model)), folder / f"{name}.pt")

    def with_nan(weights):
        weights["model.decoder.enc_score_head.weight"][0, 0] = torch.nan

    return {
        "teacher": save_teacher(folder),
        "yolo": save_teacher(folder, "yolo11n.yaml"),
        "boats": save(build("rtdetr-n.yaml", 7, names={0: "boat", 1: "car"}), folder / "boats.pt"),
        "haar": save_teacher(folder, wavelet="haar"),
        "zero": save_teacher(folder, wavelet="haar", padding="zero", seed=9),
        "wide": save_teacher(folder, "rtdetr-r18.yaml", wavelet="haar"),
        "other": save_teacher(folder, seed=8, wavelet="haar"),
        "nan": spoilt("nan", with_nan),
        "fused": spoilt("fused", lambda weights: weights.pop("model.stem1.bn.weight")),
    }


def options(tiny_data, files, settings, model="rtdetr-n.yaml"):
    given = {f"ds2d2.{key}": str(files.get(value, value)) for key, value in settings.items()}
    return {**TINY, "model": str(model), "data": str(tiny_data), "epochs": 1, "methods": "ds2d2", **given}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, UsageError, "ds2d2 needs a teacher"),
        ({"teacher": "absent.pt"}, CheckpointError, "^teacher=absent.pt does not exist"),
        ({"teacher": "boats"}, UsageError, "has the classes boat, car; the student has person, car"),
        ({"teacher": "nan"}, CheckpointError, "high-frequency amplifier"),
        ({"teacher": "teacher", "stage": "amplify"}, UsageError, "ds2d2.stage=amplify is not allowed"),
        ({"teacher": "teacher", "wavelet": "harr"}, UsageError, "harr is no wavelet. Did you mean 'haar'"),
        ({"teacher": "teacher", "wavlet": "haar"}, UsageError, "Did you mean 'ds2d2.wavelet'"),
        ({"teacher": "teacher", "gamma": "-1"}, UsageError, "ds2d2.gamma=-1 is not allowed"),
        ({"teacher": "teacher", "low": "-1"}, UsageError, "ds2d2.low=-1 is not allowed"),
        ({"teacher": "teacher", "padding": "reflect"}, UsageError, "ds2d2.padding=reflect is not allowed"),
        ({"teacher": "teacher", "imgsz": "100"}, UsageError, "ds2d2.imgsz=100 is not allowed"),
        ({"teacher": "teacher", "amplified": "1"}, UsageError, "ds2d2.amplified has no effect without an amplifier"),
        ({"teacher": "teacher", "low": "0", "high": "0", "full": "0"}, UsageError, "has no term that acts"),
        ({"teacher": "teacher", "dense": "False", "decoder": "False"}, UsageError, "leaves nothing of the implicit"),
        ({"teacher": "yolo", "decoder": "True"}, UsageError, "is a YOLO and has no decoder"),
        ({"teacher": "yolo", "dense": "False"}, UsageError, "is a YOLO: all it has is dense"),
        ({"teacher": "teacher", "amplifier": "absent.pt"}, CheckpointError, "'absent.pt' does not exist"),
        ({"teacher": "teacher", "amplifier": "x.onnx"}, CheckpointError, "ds2d2.amplifier=x.onnx is no checkpoint"),
        ({"teacher": "teacher", "amplifier": "teacher"}, CheckpointError, "is no amplifier. Train one: uavdet train"),
        ({"teacher": "teacher", "amplifier": "wide"}, CheckpointError, "belongs to another teacher"),
        ({"teacher": "teacher", "amplifier": "other"}, CheckpointError, "belongs to another teacher"),
        ({"teacher": "yolo", "amplifier": "haar"}, CheckpointError, "belongs to another teacher"),
        ({"teacher": "teacher", "amplifier": "nan"}, CheckpointError, "not finite, first model.decoder.enc_score_head"),
        ({"teacher": "teacher", "amplifier": "fused"}, CheckpointError, "pruned, fused or otherwise changed"),
        ({"teacher": "teacher", "amplifier": "zero"}, CheckpointError, "with padding zero; the run has replicate"),
        ({"teacher": "teacher", "amplifier": "haar", "wavelet": "db2"}, CheckpointError, "trained with wavelet haar"),
    ],
)  # fmt: skip
def test_what_cannot_distil_is_refused(tiny_data, files, settings, error, message):
    with pytest.raises(error, match=message) as caught:
        plan_training(options(tiny_data, files, settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "settings", "extra", "message"),
    [
        ("rtdetr-n.yaml", {}, {}, "starts from a teacher, and model=rtdetr-n.yaml pretrained=True is none"),
        ("teacher", {}, {"pretrained": False}, "pretrained=False is none"),
        ("boats", {}, {}, "has the classes boat, car; .* has person, car"),
        ("teacher", {"gamma": "2"}, {}, "ds2d2.gamma has no effect with ds2d2.stage=amplifier"),
        ("teacher", {"teacher": "teacher"}, {}, "ds2d2.teacher has no effect with ds2d2.stage=amplifier"),
        ("teacher", {"wavelet": "db0"}, {}, "ds2d2.wavelet=db0 is no wavelet"),
        ("teacher", {}, {"freeze": 2}, "freeze= has no effect with ds2d2.stage=amplifier"),
        ("teacher", {}, {"methods": "ds2d2,so-detr-kd"}, "trains alone, without so-detr-kd"),
    ],
)
def test_what_cannot_become_an_amplifier_is_refused(tiny_data, files, model, settings, extra, message):
    given = options(tiny_data, files, {"stage": "amplifier", **settings}, files.get(model, model))
    with pytest.raises(UsageError, match=message) as caught:
        plan_training({**given, **extra})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("imgsz", "multi_scale"), [(96, 0.0), (128, 0.25)])
def test_image_sizes_without_a_common_grid_are_refused(tiny_data, files, tmp_path, imgsz, multi_scale):
    given = options(tiny_data, files, {"teacher": "teacher", "imgsz": imgsz})
    with pytest.raises(UsageError, match=r"no two agree|holds the teacher's image size") as caught:
        build_trainer(plan_training({**given, "multi_scale": multi_scale, "project": str(tmp_path)}))._setup_train()
    assert "\n" not in str(caught.value)


def test_an_amplifier_is_no_detector(tiny_data, files):
    for attempt in (
        lambda: UAVDet(files["haar"]),
        lambda: plan_training({**TINY, "model": str(files["haar"]), "data": str(tiny_data)}),
        lambda: plan_training(options(tiny_data, files, {"teacher": "haar"})),
        lambda: load_pretrained(build("rtdetr-n.yaml", 7), str(files["haar"])),
    ):
        with pytest.raises(UAVDetError, match=r"is a high-frequency amplifier, .* and no detector") as caught:
            attempt()
        assert "\n" not in str(caught.value)
