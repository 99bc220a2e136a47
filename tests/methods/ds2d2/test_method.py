"""The method on students and teachers of every kind: what it gives, whom it reaches and whom it leaves alone."""

import copy

import pytest
import torch
from torch import nn

from tests.methods.detr_pairs import build, freeze_statistics, scenes, with_region
from tests.methods.ds2d2.pairs import batch_of, losses, mount, save_teacher, student_outputs
from uavdet.engine.loading import load_model
from uavdet.methods.ds2d2 import DS2D2
from uavdet.methods.extras import StudentExtras
from uavdet.methods.outputs import is_detr

TERMS = ("low", "high", "full", "amplified")
PAIRS = [("rtdetr-n.yaml", "so-detr-n.yaml"), ("yolo11n.yaml", "yolo11s.yaml"), ("yolo26n.yaml", "yolo11s.yaml")]
MIXED = [("rtdetr-n.yaml", "yolo26n.yaml"), ("yolo26n.yaml", "rtdetr-n.yaml")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the checkpoints of a teacher and of its amplifier, by the teacher's YAML."""
    folder, known = tmp_path_factory.mktemp("teachers"), {}

    def find(name):
        if name not in known:
            teacher, amplifier = save_teacher(folder, name), save_teacher(folder, name, wavelet="haar")
            known[name] = {"teacher": str(teacher), "amplifier": str(amplifier)}
        return known[name]

    return find


def only(term, weight=1.0):
    """Return settings with one term alone."""
    return {name: weight if name == term else 0.0 for name in TERMS}


def digest(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(before, model):
    return all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["rtdetr-n.yaml", "so-detr-n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_a_student_that_equals_its_teacher_has_no_loss(files, name):
    student = freeze_statistics(load_model(files(name)["teacher"])[0])
    method, _ = mount(student, **files(name), **dict.fromkeys(TERMS, 1.0))
    given = losses(method, student, batch_of(scenes(2, 64)))
    assert list(given) == [f"ds2d2_{term}_loss" for term in TERMS]
    assert all(abs(loss.item()) < 1e-4 for loss in given.values())
    if not is_detr(student):  # a DETR's encoder rounds in another way with gradients than without
        sum(given.values()).backward()
        assert all(p.grad is None or p.grad.abs().max() < 1e-4 for p in student.parameters())


@pytest.mark.parametrize(("student_name", "teacher_name"), [*PAIRS, *MIXED])
def test_each_term_reaches_the_student_below_its_head_and_nothing_else(files, student_name, teacher_name):
    student = build(student_name, 1).train()
    method, trainer = mount(student, **files(teacher_name))
    given = losses(method, student, batch_of(scenes(2, 64)))
    assert list(given) == [f"ds2d2_{term}_loss" for term in TERMS]
    head = student.model[-1]
    before_the_memory = {id(p) for p in head.input_proj.parameters()} if is_detr(student) else set()
    own = {id(p) for p in head.parameters()} - before_the_memory
    adapters = list(trainer.student_extras.parameters())
    for term, loss in given.items():
        student.zero_grad()
        trainer.student_extras.zero_grad()
        loss.backward(retain_graph=True)
        for key, parameter in student.named_parameters():
            reached = parameter.grad is not None and parameter.grad.abs().sum() > 0
            assert reached == (id(parameter) not in own) or _has_no_part(key), (term, key)
        assert all(p.grad.abs().sum() > 0 for p in adapters)
        for network in (method.teacher.model, method.amplified.head):
            assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def _has_no_part(key):
    """Return whether a term may leave a parameter without gradient: biases that normalisation takes out."""
    return key.endswith((".bias", "in_proj_bias"))


@pytest.mark.parametrize(("student_name", "teacher_name"), PAIRS)
def test_teacher_and_amplifier_never_change(files, student_name, teacher_name):
    student = build(student_name, 1).train()
    method, _ = mount(student, **files(teacher_name))
    teacher, amplifier = digest(method.teacher.model), digest(method.amplified.head)
    optimizer = torch.optim.SGD(student.parameters(), 0.01)
    for seed in range(3):
        student.train()
        sum(losses(method, student, batch_of(scenes(2, 64), seed=seed)).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert same(teacher, method.teacher.model)
    assert same(amplifier, method.amplified.head)
    for network in (method.teacher.model, method.amplified.head):
        assert not any(m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.Dropout))


@pytest.mark.parametrize(("student_name", "teacher_name"), PAIRS)
def test_the_order_of_a_batch_does_not_matter(files, student_name, teacher_name):
    student = freeze_statistics(build(student_name, 1))
    method, _ = mount(student, **files(teacher_name))
    batch = with_region(batch_of(scenes(3, 64)), 1, [0.0, 0.0, 0.6, 0.6])
    turned = {
        "img": batch["img"].flip(0),
        "cls": batch["cls"].view(3, 3, 1).flip(0).view(-1, 1),
        "bboxes": batch["bboxes"].view(3, 3, 4).flip(0).view(-1, 4),
        "batch_idx": batch["batch_idx"],
        "ignore_bboxes": batch["ignore_bboxes"],
        "ignore_batch_idx": batch["ignore_batch_idx"],
    }
    first, second = losses(method, student, batch), losses(method, student, turned)
    for name in first:
        assert second[name].item() == pytest.approx(first[name].item(), rel=2e-3), name


@pytest.mark.parametrize(("student_name", "teacher_name"), PAIRS)
def test_what_lies_in_an_ignored_region_takes_no_part(files, student_name, teacher_name):
    student = freeze_statistics(build(student_name, 1))
    method, _ = mount(student, **files(teacher_name))
    batch = with_region(batch_of(scenes(2, 64)), 0, [0.0, 0.0, 1.0, 1.0])
    batch["img"].requires_grad_()
    sum(losses(method, student, batch).values()).backward()
    assert batch["img"].grad[0].abs().max() == 0
    assert batch["img"].grad[1].abs().max() > 0


@pytest.mark.parametrize(("student_name", "teacher_name"), PAIRS)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_batches_without_objects_and_mixed_precision(files, student_name, teacher_name, dtype):
    student = build(student_name, 1).train()
    method, _ = mount(student, **files(teacher_name))
    full, empty = batch_of(scenes(2, 64)), batch_of(scenes(2, 64), boxes=0)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        given = [losses(method, student, batch) for batch in (full, empty)]
    assert given[0].keys() == given[1].keys()
    for entry in given:
        total = sum(entry.values())
        assert total.dtype is torch.float32
        student.zero_grad()
        total.backward()
        assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_large_features_stay_finite_in_mixed_precision(files):
    student = freeze_statistics(build("rtdetr-n.yaml", 1))
    for projection in student.model[-1].input_proj:
        projection[1].weight.data *= 1e3
    for settings in ({}, {"align": False}, {"align": False, "normalise": False}):
        method, _ = mount(student, **files("rtdetr-n.yaml"), **settings)
        student.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            total = sum(losses(method, student, batch_of(scenes(2, 64))).values())
        total.backward()
        assert torch.isfinite(total)
        assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_denoising_queries_are_made_and_take_no_part(files):
    student = freeze_statistics(build("rtdetr-n.yaml", 1))
    method, _ = mount(student, **files("rtdetr-n.yaml"))
    batch = batch_of(scenes(2, 64))
    outputs = student_outputs(student, batch)
    assert outputs[4] is not None
    with_denoising = method.losses(student, batch, outputs)
    without = method.losses(student, batch, student.predict(batch["img"]))
    for name, loss in with_denoising.items():
        torch.testing.assert_close(loss, without[name])


def test_the_weight_of_an_epoch_is_the_schedules_and_columns_stay(files):
    student = freeze_statistics(build("rtdetr-n.yaml", 1))
    method, _ = mount(
        student, teacher=files("rtdetr-n.yaml")["teacher"], low="2:linear:0:4", high=0, full="1:constant:2"
    )
    batch = batch_of(scenes(2, 64))
    seen = []
    for epoch in (0, 2, 5):
        method.epoch_start(epoch, 8)
        seen.append({name: loss.item() for name, loss in losses(method, student, batch).items()})
    assert [list(entry) for entry in seen] == [["ds2d2_low_loss", "ds2d2_full_loss"]] * 3
    assert seen[1]["ds2d2_low_loss"] == pytest.approx(seen[0]["ds2d2_low_loss"] / 2, rel=1e-5)
    assert seen[0]["ds2d2_full_loss"] == seen[2]["ds2d2_low_loss"] == 0
    assert seen[1]["ds2d2_full_loss"] == pytest.approx(seen[2]["ds2d2_full_loss"], rel=1e-5)
    method.epoch_start(5, 5)
    idle = sum(losses(method, student, batch).values())
    assert idle.item() == 0
    idle.backward()  # a rank with nothing to do still takes part in the exchange of gradients


def test_a_step_that_another_method_has_to_itself_adds_nothing(files):
    student = build("rtdetr-n.yaml", 1)
    method, _ = mount(student, **files("rtdetr-n.yaml"))
    given = method.losses(student, batch_of(scenes(2, 64)), None)
    assert {name: loss.item() for name, loss in given.items()} == {f"ds2d2_{term}_loss": 0.0 for term in TERMS}


def test_parts_of_the_implicit_terms_add_up(files):
    student = freeze_statistics(build("rtdetr-n.yaml", 1))
    batch, teacher = batch_of(scenes(2, 64)), files("rtdetr-n.yaml")["teacher"]
    values = {}
    for parts in ((True, True), (True, False), (False, True)):
        method, _ = mount(student, teacher=teacher, dense=parts[0], decoder=parts[1], **only("full"))
        values[parts] = losses(method, student, batch)["ds2d2_full_loss"].item()
    assert values[True, True] == pytest.approx(values[True, False] + values[False, True], rel=1e-5)
    assert min(values.values()) > 0.01


def test_each_setting_of_the_explicit_terms_matters(files):
    student = freeze_statistics(build("rtdetr-n.yaml", 1))
    batch, teacher = batch_of(scenes(2, 96)), files("rtdetr-n.yaml")["teacher"]
    seen = set()
    for changed in ({}, {"gamma": 25}, {"wavelet": "db2"}, {"padding": "zero"}, {"align": False}, {"normalise": False}):
        method, _ = mount(student, 96, teacher=teacher, full=0, **changed)
        seen.add(round(losses(method, student, batch)["ds2d2_high_loss"].item(), 6))
    assert len(seen) == 6


def test_a_teacher_at_twice_the_size_teaches_one_level_up(files):
    student = freeze_statistics(build("rtdetr-n.yaml", 1))
    method, _ = mount(student, **files("rtdetr-n.yaml"), imgsz=128)
    assert method.pairs == {0: 1, 1: 2}
    given = losses(method, student, batch_of(scenes(2, 64)))
    assert all(torch.isfinite(loss) and loss > 0 for loss in given.values())


def test_a_teacher_at_any_size_teaches_through_its_decoder(files):
    student = freeze_statistics(build("rtdetr-n.yaml", 1))
    method, _ = mount(student, **files("rtdetr-n.yaml"), imgsz=96, low=0, high=0, dense=False)
    assert method.pairs == {0: 0, 1: 1, 2: 2}
    given = losses(method, student, batch_of(scenes(2, 64)))
    assert list(given) == ["ds2d2_full_loss", "ds2d2_amplified_loss"]
    assert all(torch.isfinite(loss) and loss > 0 for loss in given.values())


def test_a_student_with_a_finer_level(files):
    student = build("yolov8n-p2.yaml", 1).train()
    method, _ = mount(student, **files("yolo11n.yaml"))
    assert method.pairs == {1: 0, 2: 1, 3: 2}
    assert all(loss > 0 for loss in losses(method, student, batch_of(scenes(2, 64))).values())


def test_stock_rtdetr_takes_a_step(files):
    student = build("rtdetr-resnet50.yaml", 1, queries=20).train()
    method, _ = mount(student, **files("so-detr-n.yaml"))
    total = sum(losses(method, student, batch_of(scenes(2, 64))).values())
    total.backward()
    assert torch.isfinite(total)
    first = next(student.parameters())
    assert first.grad.abs().sum() > 0


def test_copies_of_a_student_are_plain(files):
    student = build("rtdetr-n.yaml", 1).train()
    plain = set(student.state_dict())
    method, trainer = mount(student, **files("rtdetr-n.yaml"))
    student.student_extras = trainer.student_extras
    student.auxiliary_losses.functions.append(method.losses)
    copied = copy.deepcopy(student).eval()
    assert isinstance(copied.student_extras, StudentExtras)
    assert set(copied.state_dict()) == plain < set(student.state_dict())
    assert copied.auxiliary_losses.functions == []
    untouched = build("rtdetr-n.yaml", 1).eval()
    images = scenes(1, 64)
    torch.testing.assert_close(copied.predict(images)[0], untouched.predict(images)[0])


def test_a_teacher_with_its_classes_in_another_order_says_the_same(files):
    student = freeze_statistics(build("rtdetr-n.yaml", 1))
    batch = batch_of(scenes(2, 64))
    first, _ = mount(student, **files("rtdetr-n.yaml"))
    second, _ = mount(student, **files("rtdetr-n.yaml"))
    second.teacher._order = torch.tensor([1, 0])
    for name, loss in losses(first, student, batch).items():
        assert losses(second, student, batch)[name].item() == pytest.approx(loss.item(), rel=1e-5)


def test_defaults_are_the_documented_ones():
    args = DS2D2.Args()
    assert [str(getattr(args, term)) for term in TERMS] == ["0.1", "0.1", "1", "0.5"]
    assert (args.wavelet, args.gamma, args.align, args.normalise) == ("haar", 1.0, True, True)
