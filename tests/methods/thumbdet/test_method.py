"""ThumbDet on networks: what it compares, what learns from it, and what is refused before training."""

from types import SimpleNamespace

import pytest
import torch

from tests.conftest import TINY
from tests.methods.detr_pairs import (
    Mounting,
    build,
    freeze_statistics,
    save,
    save_teacher,
    scene_batch,
    scenes,
    sharpen,
    with_region,
)
from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.plan import plan_training
from uavdet.errors import CheckpointError, UAVDetError, UsageError
from uavdet.methods.thumbdet import ThumbDet
from uavdet.nn.thumbnail import AreaThumbnail, find_thumbnail, insert_thumbnail

NAMES = {0: "person", 1: "car"}
MOMENTS, LOGITS, FEATURES = "thumbdet_moments_loss", "thumbdet_logits_loss", "thumbdet_features_loss"


def student(name="rtdetr-n", factor=2, seed=0, queries=30, **thumbnail):
    torch.manual_seed(seed)
    model = build_model(insert_thumbnail(load_model_config(name), factor, **thumbnail), nc=2, queries=queries)
    model.names = dict(NAMES)
    return model


def mount(model, pretrained=False, **settings):
    """Return the method, ready for a student, in its second stage."""
    method, trainer = ThumbDet(ThumbDet.Args(**settings)), Mounting(model)
    trainer.plan = SimpleNamespace(start=None, resume=None, options={"pretrained": pretrained})
    trainer.pretrained_backbone = False
    method.prepare(trainer)
    method.epoch_start(method.stage_epochs, 100)
    method.trainer = trainer
    return method


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    return str(save_teacher(tmp_path_factory.mktemp("teacher"), images=scenes(3, 128), queries=30))


def scene(images=3):
    return {**scene_batch(images), "img": scenes(images, 128)}


def losses(model, method, batch):
    return method.losses(model, batch, model.training_outputs(batch))


def test_the_student_starts_from_the_teacher(teacher_file):
    model = student()
    method = mount(model, pretrained=True, teacher=teacher_file)
    taught = method.teacher.model.state_dict()
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in taught.items())
    assert set(own) - set(taught) == {f"model.thumbnail.layers.conv{n}.weight" for n in (1, 2)}
    assert method.trainer.pretrained_backbone


@pytest.mark.parametrize(("name", "pretrained"), [("rtdetr-n", False), ("so-detr-n", True)])
def test_it_does_not_where_it_should_not_or_cannot(teacher_file, name, pretrained):
    model = student(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    method = mount(model, pretrained=pretrained, teacher=teacher_file)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items() if "num_batches" not in key)
    assert not method.trainer.pretrained_backbone


@pytest.mark.parametrize("form", ["bernoulli", "softmax"])
def test_equal_networks_agree(tmp_path, form):
    sure = sharpen(build(queries=20), scenes(3, 128))  # so that no choice of queries is a close one
    file = str(save(sure, tmp_path / "same.pt"))
    model = student(queries=20)
    method = mount(freeze_statistics(model), pretrained=True, teacher=file, form=form, query_filter=0.0)
    method.teacher._resize = AreaThumbnail(2)  # the teacher sees what the student sees
    batch = scene()
    batch["img"] = batch["img"].repeat_interleave(2, 2).repeat_interleave(2, 3)
    found = losses(model, method, batch)
    assert found[MOMENTS] < 1e-6
    assert found[LOGITS] < 1e-4
    assert found[FEATURES] < 1e-8


def test_the_order_of_a_batch_does_not_matter(teacher_file):
    model = freeze_statistics(student())
    method = mount(model, teacher=teacher_file)
    batch = scene()
    turned = {**batch, "img": batch["img"].flip(0)}
    for name, value in losses(model, method, batch).items():
        assert value > 0
        torch.testing.assert_close(losses(model, method, turned)[name], value, rtol=1e-4, atol=1e-6)


def test_losses_reach_the_student_and_not_the_teacher(teacher_file):
    model = student()
    method = mount(model, teacher=teacher_file)
    sum(losses(model, method, scene()).values()).backward()
    reached = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"thumbnail", "stem1", "stage2", "stage3", "stage4", "stage5", "decoder"} <= reached
    assert all(p.grad is not None for p in find_thumbnail(model).parameters())
    assert not any(p.requires_grad or p.grad is not None for p in method.teacher.model.parameters())
    assert not method.teacher.model.training


def test_each_loss_reaches_what_it_compares(teacher_file):
    for weights, reached in (
        ({"logits": 0, "features": 0}, {"thumbnail"}),
        ({"moments": 0, "logits": 0}, {"thumbnail", "stem1", "stem2", "stem3", "stage2", "stage3", "stage4", "stage5"}),
    ):
        model = student()
        method = mount(model, teacher=teacher_file, stage_epochs=0, **weights)
        sum(losses(model, method, scene()).values()).backward()
        names = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert names == reached


def test_channels_that_differ_are_projected(tmp_path):
    file = str(save_teacher(tmp_path, "rtdetr-r18.yaml", images=scenes(1, 128)))
    model = student()
    method = mount(model, teacher=file)
    projectors = method.trainer.student_extras["thumbdet_projectors"]
    assert [(p.in_channels, p.out_channels) for p in projectors] == [(48, 128), (96, 256), (192, 512)]
    assert model.training
    sum(losses(model, method, scene(1)).values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in projectors.parameters())


def test_equal_channels_need_no_projector(teacher_file):
    assert not len(mount(student(), teacher=teacher_file).trainer.student_extras)


def test_ignored_regions_take_no_part(teacher_file):
    model = freeze_statistics(student())
    method = mount(model, teacher=teacher_file)
    batch = scene(1)
    plain = losses(model, method, batch)
    some = losses(model, method, with_region(batch, 0, [0.0, 0.0, 0.5, 1.0]))
    everything = losses(model, method, with_region(batch, 0, [0.0, 0.0, 1.0, 1.0]))
    for name in (LOGITS, FEATURES):
        assert some[name] != plain[name]
        assert everything[name] == 0
        assert everything[name].requires_grad
    assert plain[MOMENTS] == some[MOMENTS] == everything[MOMENTS] > 0  # a matter of pixels, not of labels


def test_pairs_lie_outside_of_ignored_regions_on_both_sides(teacher_file):
    model = freeze_statistics(student())
    method = mount(model, teacher=teacher_file)
    batch = scene(1)
    regions = torch.tensor([[[0.0, 0.0, 0.5, 1.0]]])
    from uavdet.methods.outputs import student_outputs

    outputs = student_outputs(model.training_outputs(batch))
    teacher = method.teacher.see(batch).outputs
    image, query, teacher_query = method._pairs(outputs, teacher, regions)
    assert len(image)
    assert (outputs.boxes[-1][image, query, 0] >= 0.5).all()
    assert (teacher.boxes[-1][image, teacher_query, 0] >= 0.5).all()


@pytest.mark.parametrize(("threshold", "kept"), [(0.0, 90), (0.5, None), (1.0, 0)])
def test_the_query_filter_keeps_what_the_teacher_is_sure_of(teacher_file, threshold, kept):
    model = student()
    method = mount(model, teacher=teacher_file, query_filter=threshold)
    from uavdet.methods.outputs import student_outputs

    batch = scene()
    outputs, teacher = student_outputs(model.training_outputs(batch)), method.teacher.see(batch).outputs
    expected = int((teacher.logits[-1].sigmoid().amax(-1) > threshold).sum()) if kept is None else kept
    assert len(method._pairs(outputs, teacher, None)[0]) == expected


def test_index_pairing_pairs_by_rank(teacher_file):
    model = student()
    method = mount(model, teacher=teacher_file, query_filter=0.0, pairing="index")
    from uavdet.methods.outputs import student_outputs

    batch = scene(2)
    outputs, teacher = student_outputs(model.training_outputs(batch)), method.teacher.see(batch).outputs
    _, query, teacher_query = method._pairs(outputs, teacher, None)
    assert torch.equal(query, teacher_query)


def test_a_batch_without_boxes_works(teacher_file):
    model = student()
    method = mount(model, teacher=teacher_file)
    batch = {**scene_batch(2, boxes=0), "img": scenes(2, 128)}
    assert torch.isfinite(sum(losses(model, method, batch).values()))


def test_the_teacher_rests_where_nothing_is_asked_of_it(teacher_file, monkeypatch):
    model = student()
    method = mount(model, teacher=teacher_file, logits="0.5:constant:90", features=0)
    monkeypatch.setattr(method.teacher, "see", lambda batch: pytest.fail("the teacher looked"))
    found = losses(model, method, scene(1))
    assert list(found) == [MOMENTS, LOGITS, FEATURES]
    assert found[LOGITS] == found[FEATURES] == 0


def test_the_first_stage_trains_the_thumbnail_alone(teacher_file):
    model = student()
    method = mount(model, teacher=teacher_file, stage_epochs=2)
    model.auxiliary_losses.functions.append(method.losses)
    method.epoch_start(1, 10)
    assert method.preliminary
    total, items = model.loss(scene())
    total.backward()
    assert {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None} == {"thumbnail"}
    assert {MOMENTS, LOGITS, FEATURES} <= set(items)
    method.epoch_start(2, 10)
    assert not method.preliminary
    model.loss(scene())[0].backward()
    assert all(p.grad is not None for row in (model.model[1], model.model[-1].dec_score_head) for p in row.parameters())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"stage_epochs": 0}, []),
        ({"stage_epochs": 2}, ["first stage, through epoch 2", "thumbnail goes on learning"]),
        ({"stage_epochs": 2, "frozen": True}, ["first stage, through epoch 2", "thumbnail stays as it is"]),
    ],
    ids=["none", "two", "frozen"],
)
def test_the_log_tells_when_the_first_stage_begins_and_ends(logged, settings, told):
    method = mount(student(), logits=0, features=0, **settings)
    logged.clear()
    for epoch in range(4):
        method.epoch_start(epoch, 4)
    assert len(logged) == len(told)
    assert all(line.startswith("thumbdet: ") and part in line for line, part in zip(logged, told, strict=True))


def test_a_frozen_thumbnail_learns_in_the_first_stage_only(teacher_file):
    model = student()
    method = mount(model, teacher=teacher_file, stage_epochs=2, frozen=True)
    for epoch, learns in ((0, True), (1, True), (2, False), (9, False)):
        method.epoch_start(epoch, 10)
        assert all(p.requires_grad == learns for p in find_thumbnail(model).parameters())


def test_gradients_that_accumulate_over_the_end_of_the_first_stage_do_not_move_a_frozen_thumbnail(teacher_file):
    model = student()
    method = mount(model, teacher=teacher_file, stage_epochs=1, frozen=True)
    model.auxiliary_losses.functions.append(method.losses)
    method.epoch_start(0, 10)
    model.train().loss(scene())[0].backward()
    method.epoch_start(1, 10)
    assert all(p.grad is None for p in find_thumbnail(model).parameters())


def test_a_teacher_with_a_thumbnail_teaches_features(tmp_path):
    file = save(student(factor=4, seed=3), tmp_path / "thumbnail.pt")
    model = student()
    assert mount(model, teacher=str(file), stage_epochs=0).teacher is not None


def test_autocast_changes_no_loss_much(teacher_file):
    model = freeze_statistics(student())
    method = mount(model, teacher=teacher_file)
    batch = scene()
    exact = losses(model, method, batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses(model, method, batch)
    assert all(value.dtype == torch.float32 for value in mixed.values())
    torch.testing.assert_close(mixed[FEATURES], exact[FEATURES], rtol=0.1, atol=0)


# Settings and what is refused ----------------------------------------------------------------------------------------


STAGED = {"thumbdet.stage_epochs": 2}


def test_the_defaults_are_the_paper_s_weights():
    args = ThumbDet.Args()
    assert [weight.weight for weight in (args.moments, args.logits, args.features)] == [1.0, 0.5, 0.1]
    assert (args.temperature, args.query_filter, args.stage_epochs) == (1.0, 0.5, None)


@pytest.fixture(scope="module")
def plain_teacher(tmp_path_factory):
    return str(save_teacher(tmp_path_factory.mktemp("plain")))


def plan(data, folder, **changes):
    options = {**TINY, "thumbnail": 2, "imgsz": 128, "epochs": 8, "methods": "thumbdet", "project": str(folder)}
    return plan_training({**options, "data": str(data), **changes})


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"epochs": 8}, 0),
        ({"epochs": 30}, 3),
        ({"epochs": 55}, 5),
        ({"epochs": 600}, 5),
        ({"epochs": 30, "thumbdet.moments": 0}, 0),
        ({"epochs": 30, "thumbdet.moments": 0, "thumbnail_kind": "area"}, 0),
        ({"epochs": 8, "thumbdet.stage_epochs": 7}, 7),
        ({"epochs": 55, "thumbdet.stage_epochs": 0}, 0),
    ],
)
def test_the_first_stage_is_a_tenth_of_the_run_at_most_the_paper_s(tiny_data, plain_teacher, tmp_path, changes, stage):
    (method,) = plan(tiny_data, tmp_path, **{"thumbdet.teacher": plain_teacher, **changes}).methods
    assert method.stage_epochs == stage


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"thumbdet.teacher": None}, UsageError, "thumbdet needs a teacher"),
        ({"thumbdet.teacher": "gone.pt"}, CheckpointError, "^teacher=gone.pt does not exist"),
        ({"thumbdet.teacher": "gone.onnx"}, CheckpointError, "is no checkpoint"),
        ({"thumbdet.imgsz": 100}, UsageError, r"thumbdet\.imgsz=100 is not allowed"),
        ({"thumbnail": None}, UsageError, r"rtdetr-n\.yaml has none. Add thumbnail=4"),
        ({"thumbnail": 3}, UsageError, "thumbnail=3 is not allowed. It is 2 or 4"),
        ({"imgsz": 160}, UsageError, "multiple of 64, at least 128. The nearest are imgsz=128 and imgsz=192"),
        ({"imgsz": 64}, UsageError, "The nearest is imgsz=128"),
        ({"epochs": 5, "thumbdet.stage_epochs": 5}, UsageError, "stage_epochs=5 is not below epochs=5"),
        ({"thumbnail_kind": "area"}, UsageError, r"thumbdet\.moments=0 thumbdet\.stage_epochs=0"),
        ({**STAGED, "thumbdet.moments": 0}, UsageError, "leaves the first stage nothing to learn"),
        ({**STAGED, "thumbdet.moments": "1:linear:1"}, UsageError, "moments=1:linear:1 leaves the first stage"),
        (
            {"thumbdet.stage_epochs": 5, "thumbdet.moments": "1:linear:0:3"},
            UsageError,
            "leaves the first stage nothing to learn",
        ),
        ({"thumbdet.frozen": True, "thumbdet.stage_epochs": 0}, UsageError, "there is none"),
        ({"thumbdet.frozen": True}, UsageError, "there is none"),
        ({**STAGED, "freeze": 1}, UsageError, "freeze=1 freezes the thumbnail"),
        ({**STAGED, "freeze": ["thumbnail"]}, UsageError, "freezes the thumbnail"),
        ({"thumbdet.moments": "one"}, UsageError, r"thumbdet\.moments=one is not allowed"),
        ({"thumbdet.form": "logit"}, UsageError, r"thumbdet\.form=logit is not allowed"),
        ({"thumbdet.query_filter": 2}, UsageError, r"thumbdet\.query_filter=2 is not allowed"),
        ({"thumbdet.temperature": 0}, UsageError, r"thumbdet\.temperature=0 is not allowed"),
        ({"thumbdet.stage_epoch": 1}, UsageError, r"Did you mean 'thumbdet\.stage_epochs'"),
        ({"single_cls": True, "thumbdet.form": "softmax"}, UsageError, "says nothing about a single class"),
        ({"model": "yolo11n.yaml"}, UAVDetError, "stock one of Ultralytics|belongs to DETR"),
        ({"model": "rtdetr-l.yaml"}, UsageError, "stock one of Ultralytics"),
    ],
)
def test_runs_that_cannot_work_are_refused_in_one_line(tiny_data, plain_teacher, tmp_path, changes, error, message):
    settings = {"thumbdet.teacher": plain_teacher, **changes}
    settings = {key: value for key, value in settings.items() if value is not None or "." not in key}
    with pytest.raises(error, match=message) as caught:
        plan(tiny_data, tmp_path, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda model: model.names.update({1: "boat"}), UsageError, "person, boat; the student has person, car"),
        (
            lambda model: model.model[0].conv.weight.data.fill_(torch.nan),
            CheckpointError,
            "not finite, first model.stem1",
        ),
        (lambda model: model.fuse(verbose=False), CheckpointError, "does not fit the network that its own YAML"),
    ],
)
def test_teachers_that_cannot_teach_are_refused(tiny_data, tmp_path, spoil, error, message):
    model = build()
    spoil(model)
    file = save(model, tmp_path / "teacher.pt")
    with pytest.raises(error, match=message) as caught:
        plan(tiny_data, tmp_path, **{"thumbdet.teacher": str(file)})
    assert "\n" not in str(caught.value)


def test_a_plain_resize_is_taught_without_a_first_stage(tiny_data, plain_teacher, tmp_path):
    settings = {"thumbdet.teacher": plain_teacher, "thumbdet.moments": 0, "thumbdet.stage_epochs": 0}
    assert plan(tiny_data, tmp_path, thumbnail_kind="bicubic", **settings).methods[0].name == "thumbdet"


def test_the_thumbnail_may_learn_alone_without_a_teacher(tiny_data, tmp_path):
    assert plan(tiny_data, tmp_path, **{"thumbdet.logits": 0, "thumbdet.features": 0}).methods[0].teacher is None


def test_the_recipe_sets_the_method(tiny_data, plain_teacher, tmp_path):
    given = {"recipe": "thumbdet", "model": "rtdetr-n.yaml", "thumbnail": 4, "thumbdet.teacher": plain_teacher}
    planned = plan_training({**given, "data": str(tiny_data), "project": str(tmp_path)})
    assert planned.options["imgsz"] == 1280
    assert planned.options["epochs"] == 55
    (method,) = planned.methods
    assert method.args == ThumbDet.Args(teacher=plain_teacher)
