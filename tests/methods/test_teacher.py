"""Teachers: frozen, run once a step, in the student's order of classes, and refused where they cannot teach."""

import pytest
import torch

from tests.methods.detr_pairs import save_teacher, scenes
from uavdet.assets import DEMO_WEIGHTS
from uavdet.engine.checkpoint import Checkpoint, describe_model, read_checkpoint, save_checkpoint
from uavdet.engine.families import build_model, load_model_config
from uavdet.errors import CheckpointError, UsageError
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.outputs import class_order, student_outputs
from uavdet.methods.teacher import Teacher, TeacherPool

NAMES = {0: "person", 1: "car"}


def save(folder, name="rtdetr-n.yaml", names=NAMES, change=None):
    torch.manual_seed(0)
    model = build_model(load_model_config(name), nc=len(names))
    model.names = dict(names)
    weights = model.state_dict()
    if change:
        change(weights)
    return save_checkpoint(Checkpoint(weights, describe_model(model)), folder / "teacher.pt")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return save(tmp_path_factory.mktemp("teacher"))


def images(side=64, count=2):
    torch.manual_seed(1)
    return {"img": torch.rand(count, 3, side, side)}


def test_every_decoder_layer_is_seen_and_the_last_is_what_the_model_predicts(file):
    teacher = Teacher(file, NAMES)
    model = build_model(load_model_config("rtdetr-n.yaml"), nc=2).eval()
    model.load_state_dict(teacher.model.state_dict())
    outputs = teacher.see(images()).outputs
    _, raw = model.predict(images()["img"])
    layers = len(model.model[-1].dec_score_head)
    assert outputs.boxes.shape[0] == layers > 1
    torch.testing.assert_close(outputs.boxes[-1], raw[0][0])
    torch.testing.assert_close(outputs.logits[-1], raw[1][0])
    assert len(teacher.features.memory) == len(teacher.features.head_inputs) == 3
    assert [maps.shape[-1] for maps in teacher.features.stages[-3:]] == [8, 4, 2]


def test_a_teacher_runs_once_a_step_whoever_asks(file, monkeypatch):
    pool = TeacherPool(NAMES)
    assert pool.get(file) is pool.get(str(file))
    assert pool.get(file, 96) is not pool.get(file)
    teacher, runs = pool.get(file), []
    original = teacher.model.predict
    monkeypatch.setattr(teacher.model, "predict", lambda x: runs.append(1) or original(x))
    batch = images()
    first = teacher.see(batch).outputs
    assert teacher.see(batch).outputs is first
    assert len(runs) == 1
    teacher.see(images())
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("side", "sizes", "count"),
    [(None, [None, 64], 2), (64, [None, 64], 1), (64, [64, None, 96], 2), (96, [None, 64], 2)],
    ids=["changing", "same", "another too", "another"],
)
def test_the_students_own_size_is_no_size_of_its_own(file, side, sizes, count):
    pool = TeacherPool(NAMES, side)
    assert len({id(pool.get(file, imgsz)) for imgsz in sizes}) == len(pool) == count
    assert pool.get(file).imgsz is None


def test_a_teacher_has_no_gradients_and_never_changes(file):
    teacher = Teacher(file, NAMES)
    before = {key: value.clone() for key, value in teacher.model.state_dict().items()}
    outputs = teacher.see(images()).outputs
    assert not outputs.boxes.requires_grad
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert not any(module.training for module in teacher.model.modules())
    assert all(torch.equal(before[key], value) for key, value in teacher.model.state_dict().items())


def test_boxes_are_not_rounded_to_bfloat16(tmp_path):
    """Whose neighbours above 0.5 are 1/256 apart: 2.5 pixels at 640."""
    file = save_teacher(tmp_path, images=scenes(2), queries=30)
    exact = Teacher(file, NAMES).see({"img": scenes(2)}).outputs
    with torch.autocast("cpu", torch.bfloat16):
        mixed = Teacher(file, NAMES).see({"img": scenes(2)}).outputs
    assert exact.boxes.dtype == mixed.boxes.dtype == torch.float32
    assert (mixed.boxes != mixed.boxes.bfloat16().float()).float().mean() > 0.9


def test_a_teacher_looks_at_its_own_size(file):
    teacher = Teacher(file, NAMES, imgsz=128)
    teacher.see(images(64))
    assert teacher.features.memory[0].shape[-1] == 16


def test_classes_are_put_in_the_students_order(file, tmp_path):
    turned = {0: "Car", 1: "PERSON "}
    straight, swapped = Teacher(file, NAMES), Teacher(file, turned)
    a, b = straight.see(images()).outputs, swapped.see(images()).outputs
    torch.testing.assert_close(a.logits.flip(-1), b.logits)
    assert class_order(NAMES, NAMES) is None


@pytest.mark.parametrize("names", [{0: "person"}, {0: "person", 1: "boat"}, {0: "a", 1: "b", 2: "car"}])
def test_other_classes_are_refused_with_both_lists(file, names):
    with pytest.raises(UsageError, match=r"person, car; the student has " + ", ".join(names.values())):
        Teacher(file, names)


def spoil(weights):
    weights["model.decoder.enc_output.0.weight"][0, 0] = float("nan")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: folder / "absent.pt", r"^teacher=.*absent\.pt does not exist\. Give a \.pt"),
        (lambda folder: folder / "x.onnx", "is no checkpoint"),
        (lambda folder: save(folder, change=spoil), "not finite, first model.decoder.enc_output.0.weight"),
        (lambda folder: save(folder, change=lambda w: w.pop("model.stem1.bn.weight")), "does not fit"),  # as fused ones
    ],
    ids=["missing", "exported", "nan", "fused"],
)
def test_files_that_cannot_teach_are_refused(tmp_path, make, text):
    with pytest.raises(CheckpointError, match=text) as caught:
        Teacher(make(tmp_path), NAMES)
    assert "\n" not in str(caught.value)


def test_the_bundled_weights_teach_by_their_name():
    names = read_checkpoint(DEMO_WEIGHTS).meta["names"]
    assert Teacher("so-detr-n-demo", names).file == str(DEMO_WEIGHTS)


def test_copies_of_a_recorded_model_keep_nothing(file):
    import copy

    model = Teacher(file, NAMES).model
    recorder = FeatureRecorder(model)
    copied = copy.deepcopy(model)
    del copied.model[-1].forward  # of the teacher, bound to the original head
    with torch.no_grad():
        copied.predict(images()["img"])
    assert recorder._head.value is None
    hooks = [hook for module in copied.modules() for hook in module._forward_hooks.values()]
    assert hooks
    assert all(hook.value is None for hook in hooks if hasattr(hook, "value"))


def test_denoising_queries_are_no_predictions():
    meta = {"dn_num_split": [6, 4]}
    preds = (torch.rand(3, 2, 10, 4), torch.rand(3, 2, 10, 5), torch.rand(2, 4, 4), torch.rand(2, 4, 5), meta)
    outputs = student_outputs(preds)
    assert torch.equal(outputs.boxes, preds[0][:, :, 6:])
    assert torch.equal(outputs.logits, preds[1][:, :, 6:])
    assert student_outputs((*preds[:4], None)).boxes is preds[0]
