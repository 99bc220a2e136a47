"""Methods with a DETR student and a DETR teacher: who is refused, who takes part, who gets gradients, who learns."""

import csv
from contextlib import nullcontext

import pytest
import torch

from tests.conftest import TINY
from tests.interruption import Interrupted, interrupt_at
from tests.methods.detr_pairs import NAMES, add, build, mount, save, save_teacher, scene_batch, scenes
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.loading import load_model
from uavdet.engine.plan import plan_training
from uavdet.engine.train import train
from uavdet.errors import UAVDetError, UsageError
from uavdet.losses.boxes import iou
from uavdet.methods.base import build_methods, check_schedules
from uavdet.methods.detr_teacher import aligned_layers
from uavdet.methods.kd_detr import KDDETR
from uavdet.methods.kd_detr.points import Queries, decode, memory_of_maps
from uavdet.methods.outputs import student_outputs
from uavdet.methods.pairing import pair_queries
from uavdet.methods.so_detr import SODETRDistillation
from uavdet.nn.thumbnail import insert_thumbnail

METHODS = [SODETRDistillation, KDDETR]
NAME = {method: method.name for method in METHODS}
both = pytest.mark.parametrize("method", METHODS, ids=NAME.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def teacher_file(folder):
    return save_teacher(folder, images=scenes(2), queries=30)


@pytest.mark.parametrize(
    ("student", "teacher", "layers", "pairs"),
    [
        (3, 6, "last", [(-1, -1)]),
        (3, 3, "all", [(-1, -1), (-2, -2), (-3, -3)]),
        (3, 6, "all", [(-1, -1), (-2, -2), (-3, -3)]),
        (6, 1, "all", [(-1, -1)]),
    ],
)
def test_layers_are_aligned_from_the_end(student, teacher, layers, pairs):
    assert aligned_layers(student, teacher, layers) == pairs


# Bad input ------------------------------------------------------------------------------------------------------------


def spoiled(folder):
    model = build()
    model.model[-1].enc_output[0].weight.data[0, 0] = float("nan")
    return save(model, folder / "nan.pt")


def fused(folder):
    return save(build().fuse(verbose=False), folder / "fused.pt")


def of_other_classes(folder):
    return save(build(names={0: "person", 1: "boat"}), folder / "boats.pt")


def yolo(folder):
    return save(build("yolo11n.yaml", queries=None), folder / "yolo.pt")


@both
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (None, r"needs a teacher. Give the checkpoint of a DETR: {name}.teacher=best.pt"),
        (lambda folder: folder / "absent.pt", "absent.pt"),
        (lambda folder: folder / "model.onnx", "is no checkpoint"),
        (spoiled, "not finite"),
        (fused, "does not fit"),
        (of_other_classes, "person, boat; the student has person, car"),
        (yolo, "is a YOLO, which has no decoder queries"),
    ],
    ids=["none", "missing", "exported", "nan", "fused", "classes", "yolo"],
)
def test_teachers_that_cannot_teach_are_refused_before_training(folder, tiny_data, tmp_path, method, make, text):
    options = {**TINY, "data": str(tiny_data), "project": str(tmp_path), "methods": method.name}
    if make is not None:
        options[f"{method.name}.teacher"] = str(make(folder))
    with pytest.raises(UAVDetError, match=text.format(name=method.name)) as caught:
        plan_training(options)
    assert "\n" not in str(caught.value)


@both
def test_a_yolo_student_and_an_odd_size_are_refused(tiny_data, tmp_path, teacher_file, method):
    options = {"data": str(tiny_data), "project": str(tmp_path), "methods": method.name, "device": "cpu"}
    options[f"{method.name}.teacher"] = str(teacher_file)
    with pytest.raises(UsageError, match=r"which a YOLO has not. Give a DETR as the student: model=so-detr-n.yaml"):
        plan_training({**options, "model": "yolo11n.yaml", "imgsz": 64})
    with pytest.raises(UsageError, match=rf"{method.name}.imgsz=100 is not allowed.*imgsz=96"):
        plan_training({**TINY, **options, f"{method.name}.imgsz": "100"})


@pytest.fixture(scope="module")
def thumbnail_file(folder):
    model = build_model(insert_thumbnail(load_model_config("rtdetr-n.yaml"), 2), nc=2)
    model.names = dict(NAMES)
    return save(model, folder / "thumbnail.pt")


@pytest.mark.parametrize("method", [*NAME.values(), "ds2d2"])
def test_sizes_that_a_teacher_with_a_thumbnail_cannot_see_are_refused(tiny_data, tmp_path, thumbnail_file, method):
    options = {**TINY, "data": str(tiny_data), "project": str(tmp_path), "methods": method, "imgsz": 96}
    options[f"{method}.teacher"] = str(thumbnail_file)
    with pytest.raises(UsageError, match=rf"cannot see the student's images. {method}.imgsz=96 .*imgsz=128") as caught:
        plan_training(options)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=rf"^{method}.imgsz=160 is not allowed: a side is a multiple of 64"):
        plan_training({**options, f"{method}.imgsz": 160})
    plan_training({**options, f"{method}.imgsz": 128})


def test_a_method_that_is_listed_twice_is_refused():
    with pytest.raises(UsageError, match=r"^methods=kd-detr,so-detr-kd,kd-detr lists kd-detr twice\. Give it once\.$"):
        build_methods(["kd-detr", "so-detr-kd", "kd-detr"], {})


@both
@pytest.mark.parametrize(("weight", "acts"), [("1:linear:2", False), ("1:linear:1", True), ("0:linear:2", True)])
def test_a_weight_that_starts_after_the_run_is_refused(method, weight, acts):
    (built,) = build_methods([method.name], {f"{method.name}.weight": weight})
    with pytest.raises(UsageError, match="never acts: it starts after 2") if not acts else nullcontext():
        check_schedules(built, epochs=2)


def test_a_run_of_one_epoch_is_named_in_the_singular():
    (built,) = build_methods(["kd-detr"], {"kd-detr.weight": "1:linear:1"})
    with pytest.raises(UsageError, match=r"never acts: it starts after 1 epoch and the run has 1\. Give an earlier"):
        check_schedules(built, epochs=1)


@pytest.mark.parametrize(("changes", "count"), [({}, 1), ({"multi_scale": 0.5}, 2)], ids=["fixed", "changing"])
def test_both_methods_share_a_teacher_at_the_students_size(tiny_data, tmp_path, teacher_file, changes, count):
    options = {**TINY, **changes, "data": str(tiny_data), "project": str(tmp_path), "methods": "so-detr-kd,kd-detr"}
    teachers = {f"{method.name}.teacher": str(teacher_file) for method in METHODS}
    plan = plan_training({**options, **teachers, "kd-detr.imgsz": str(TINY["imgsz"])})
    assert len(plan.teachers) == count


def test_a_weight_that_cannot_be_read_is_refused_in_plain_words():
    with pytest.raises(UsageError, match=r"^kd-detr.weight=-1 is not allowed: it is a weight of at least 0, or"):
        build_methods(["kd-detr"], {"kd-detr.weight": "-1"})


def test_the_plan_looks_at_the_schedules(tiny_data, tmp_path, teacher_file):
    options = {**TINY, "data": str(tiny_data), "project": str(tmp_path), "epochs": 2, "methods": "kd-detr"}
    with pytest.raises(UsageError, match=r"kd-detr\.l1_weight=5:linear:9 never acts"):
        plan_training({**options, "kd-detr.teacher": str(teacher_file), "kd-detr.l1_weight": "5:linear:9"})


def test_softmax_over_one_class_is_refused(folder, tiny_data, tmp_path):
    options = {**TINY, "data": str(tiny_data), "project": str(tmp_path), "single_cls": True, "methods": "kd-detr"}
    with pytest.raises(UsageError, match="says nothing about a single class"):
        plan_training({**options, "kd-detr.classes": "softmax", "kd-detr.teacher": "any.pt"})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("so-detr-kd.pairing", "greedy"),
        ("so-detr-kd.images", "first"),
        ("so-detr-kd.layers", "2"),
        ("so-detr-kd.expansion", "0.5"),
        ("so-detr-kd.expansion", "inf"),
        ("so-detr-kd.weight", "-1"),
        ("so-detr-kd.weight", "0.1:exponential"),
        ("so-detr-kd.imgsz", "large"),
        ("kd-detr.general", "-3"),
        ("kd-detr.temperature", "0"),
        ("kd-detr.classes", "hard"),
        ("kd-detr.l1_weight", "much"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_one_line(setting, value):
    with pytest.raises(UsageError, match=f"{setting}={value} is not allowed") as caught:
        build_methods([setting.split(".")[0]], {setting: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["so-detr-kd.paring", "kd-detr.wieght"])
def test_unknown_settings_are_refused_with_a_suggestion(setting):
    with pytest.raises(UsageError, match="Did you mean"):
        build_methods([setting.split(".")[0]], {setting: "1"})


@both
def test_the_recipe_ships_and_names_its_method(tiny_data, tmp_path, teacher_file, method):
    options = {**TINY, "data": str(tiny_data), "project": str(tmp_path), "recipe": method.name}
    plan = plan_training({**options, f"{method.name}.teacher": str(teacher_file), f"{method.name}.weight": "0.5"})
    assert [type(m) for m in plan.methods] == [method]
    assert plan.methods[0].args.weight.weight == 0.5
    with pytest.raises(UsageError, match=f"{method.name}.teacher=best.pt"):
        plan_training(options)


# Networks -------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("pair", [("rtdetr-n.yaml", "so-detr-r50.yaml"), ("rtdetr-resnet50.yaml", "rtdetr-n.yaml")])
@pytest.mark.parametrize("objects", [0, 2])
def test_any_detr_teaches_any_other(folder, method, pair, objects):
    student, teacher = pair
    file = folder / f"teacher-7-{teacher}.pt"
    if not file.exists() or teacher != "rtdetr-n.yaml":
        file = save_teacher(folder, teacher, queries=15)
    model = build(student, queries=10).train()
    ready = mount(method, model, teacher=str(file))
    batch = scene_batch(2, boxes=objects)
    with torch.autocast("cpu", torch.bfloat16):
        total = add(ready.losses(model, batch, model.training_outputs(batch)))
    total.backward()
    assert torch.isfinite(total)
    assert total.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


UNREACHED = {
    # The best proposals are chosen without gradients, and denoising queries are no predictions.
    SODETRDistillation: {
        *("enc_output", "enc_score_head", "enc_bbox_head", "denoising_class_embed"),
        *("dec_score_head.0", "dec_score_head.1", "dec_bbox_head.0"),
    },
    KDDETR: {"enc_output", "enc_score_head", "enc_bbox_head", "denoising_class_embed"},
}


@both
def test_gradients_reach_the_student_and_its_projector_and_nothing_else(teacher_file, method):
    model = build(queries=30).train()
    # A new bbox head answers with zeros whatever it sees, and then passes no gradient on.
    for boxes in model.model[-1].dec_bbox_head:
        torch.nn.init.normal_(boxes.layers[-1].weight, 0, 0.1)
    ready = mount(method, model, teacher=str(teacher_file))
    batch = {**scene_batch(2, side=128), "img": scenes(2)}
    add(ready.losses(model, batch, model.training_outputs(batch))).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    unreached = {name for name, _ in model.named_parameters()} - reached
    prefixes = tuple(f"model.decoder.{part}." for part in UNREACHED[method])
    assert {name for name in unreached if not name.startswith(prefixes)} == set()
    assert {name for name in reached if name.startswith(prefixes)} == set()
    assert all(p.grad is None for p in ready.teacher.model.parameters())
    if method is KDDETR:
        assert all(p.grad.abs().sum() > 0 for p in ready.projector.parameters())


def confident_pairs(student, teacher):
    wanted, scores = teacher.boxes[-1], teacher.logits[-1]
    return pair_queries(student.boxes[-1], student.logits[-1], wanted, scores, scores.sigmoid().amax(-1) > 0.5)


@torch.no_grad()
def agreement_of_detections(model, ready, batch):
    """Return the mean IoU of the student's detections with those that the teacher is sure of."""
    student, teacher = student_outputs(model.training_outputs(batch)), ready.teacher.see(batch).outputs
    image, query, other = confident_pairs(student, teacher)
    return iou(student.boxes[-1][image, query], teacher.boxes[-1][image, other]).mean()


@torch.no_grad()
def agreement_at_points(model, ready, batch):
    """Return the mean IoU of both networks' answers to the queries that the teacher is sure of."""
    model.training_outputs(batch)
    ((queries, teacher),) = ready._points(batch)
    projected = Queries(ready.projector(queries.content), queries.references)
    boxes, _ = decode(model.model[-1], projected, memory_of_maps(ready._features.memory))
    sure = teacher.logits[-1].sigmoid().amax(-1) > 0.5
    return iou(boxes[-1], teacher.boxes[-1])[sure].mean()


@pytest.mark.parametrize(
    ("method", "rate", "agreement"),
    [(SODETRDistillation, 4e-4, agreement_of_detections), (KDDETR, 1e-3, agreement_at_points)],
    ids=NAME.values(),
)
def test_it_teaches(teacher_file, method, rate, agreement):
    images = scenes(2)
    batch = {**scene_batch(2), "img": images}
    model = build(queries=30).train()
    model.model[-1].num_denoising = 0
    ready = mount(method, model, teacher=str(teacher_file), weight=1)
    parameters = [*model.parameters(), *getattr(ready, "projector", torch.nn.Identity()).parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    agreed, distances = agreement(model, ready, batch), []
    for _ in range(200):
        distance = add(ready.losses(model, batch, model.training_outputs(batch)))
        optimizer.zero_grad()
        distance.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        distances.append(distance.item())
    assert sum(distances[-5:]) / 5 < distances[0] / 2
    assert agreement(model, ready, batch) > agreed + 0.1


# Runs -----------------------------------------------------------------------------------------------------------------


def test_a_run_with_both_methods_resumes_and_leaves_a_plain_model(tiny_data, tmp_path, teacher_file):
    settings = {"kd-detr.general": 5, "so-detr-kd.weight": "0.1:linear", "methods": "so-detr-kd,kd-detr"}
    teachers = {f"{method.name}.teacher": str(teacher_file) for method in METHODS}
    changed = {"epochs": 3, "deterministic": True, "data": str(tiny_data), "project": str(tmp_path)}
    options = {**TINY, **settings, **teachers, **changed}
    whole = train({**options, "name": "whole"})

    with pytest.raises(Interrupted):
        train({**options, "name": "cut"}, interrupt_at(2))
    resumed = train({"resume": str(tmp_path / "cut" / "weights" / "last.pt")})
    expected, given = read_checkpoint(whole.last).weights, read_checkpoint(resumed.last).weights
    for key in expected:
        assert torch.equal(expected[key], given[key]), key
    plain, _ = load_model(resumed.best)
    fresh = build(queries=TINY["queries"], names=NAMES)
    assert read_checkpoint(resumed.best).weights.keys() == plain.state_dict().keys() == fresh.state_dict().keys()
    rows = list(csv.DictReader((resumed.save_dir / "results.csv").open()))
    assert len(rows) == 3
    for prefix in ("so_detr_kd", "kd_detr"):
        for term in ("class", "l1", "box"):
            assert all(float(row[f"train/{prefix}_{term}_loss"]) > 0 for row in rows)
