"""KD-DETR on networks: zero where they agree, and what changes it."""

import pytest
import torch

from tests.methods.detr_pairs import (
    add,
    build,
    freeze_statistics,
    mount,
    save,
    save_teacher,
    scene_batch,
    scenes,
    with_region,
)
from uavdet.methods.kd_detr import KDDETR


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher"), images=scenes(3, 64), queries=20)


def losses(model, method, batch, seed=0):
    torch.manual_seed(seed)  # of the queries drawn at random
    return method.losses(model, batch, model.training_outputs(batch))


def scene(images=3):
    return {**scene_batch(images), "img": scenes(images, 64)}


@pytest.mark.parametrize("settings", [{}, {"general": 8}, {"classes": "softmax", "temperature": 10}])
def test_equal_networks_agree(tmp_path, settings):
    model = build(queries=20)
    method = mount(KDDETR, freeze_statistics(model), teacher=str(save(model, tmp_path / "same.pt")), **settings)
    assert add(losses(model, method, scene())) < 1e-4


def test_the_order_of_a_batch_does_not_matter(teacher_file):
    model = freeze_statistics(build())
    method = mount(KDDETR, model, teacher=str(teacher_file))
    batch = scene()
    turned = {**batch, "img": batch["img"].flip(0)}
    for name, value in losses(model, method, batch).items():
        torch.testing.assert_close(losses(model, method, turned)[name], value, rtol=1e-4, atol=1e-5)


def test_points_in_an_ignored_region_take_no_part(teacher_file):
    model = freeze_statistics(build())
    method = mount(KDDETR, model, teacher=str(teacher_file))
    batch = scene(1)
    plain = add(losses(model, method, batch))
    nowhere = {**batch, "ignore_bboxes": torch.zeros(0, 4), "ignore_batch_idx": torch.zeros(0)}
    assert add(losses(model, method, nowhere)) == plain
    assert add(losses(model, method, with_region(batch, 0, [0.0, 0.0, 0.5, 1.0]))) != plain
    everywhere = add(losses(model, method, with_region(batch, 0, [0.0, 0.0, 1.0, 1.0])))
    assert everywhere == 0
    assert everywhere.requires_grad


@pytest.mark.parametrize(("epoch", "share"), [(0, 1.0), (3, 0.25), (4, 0.0)])
def test_the_weight_follows_its_schedule(teacher_file, epoch, share):
    model = freeze_statistics(build())
    method = mount(KDDETR, model, teacher=str(teacher_file), weight="1:linear:0:4")
    batch = scene()
    full = add(losses(model, method, batch))
    method.epoch_start(epoch, 10)
    given = losses(model, method, batch)
    assert list(given) == ["kd_detr_class_loss", "kd_detr_l1_loss", "kd_detr_box_loss"]
    torch.testing.assert_close(add(given), full * share)
    assert add(given).requires_grad


def test_random_queries_add_to_the_loss_and_are_drawn_anew(teacher_file):
    model = freeze_statistics(build())
    plain, more = (mount(KDDETR, model, teacher=str(teacher_file), general=count) for count in (0, 8))
    batch = scene()
    values = [add(losses(model, more, batch, seed)) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert values[0] > add(losses(model, plain, batch))


def test_the_last_layer_alone_is_part_of_all(teacher_file):
    model = freeze_statistics(build())
    every, last = (mount(KDDETR, model, teacher=str(teacher_file), layers=layers) for layers in ("all", "last"))
    batch = scene()
    assert 0 < add(losses(model, last, batch)) < add(losses(model, every, batch))


def test_without_outputs_there_is_no_loss(teacher_file):
    method = mount(KDDETR, build(), teacher=str(teacher_file))
    assert add(method.losses(method, scene(), None)) == 0


@pytest.mark.parametrize("classes", ["bernoulli", "softmax"])
def test_at_a_high_temperature_the_class_distance_compares_logits(classes):
    # Taylor's series: squared differences of logits times 1/8; for softmax about their mean, times 1/(2 C).
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4), torch.randn(2, 6, 4)
    method = KDDETR(KDDETR.Args(classes=classes, temperature=50))
    difference = (student - teacher).double()
    if classes == "bernoulli":
        expected = difference.square().sum(-1) / 8
    else:
        expected = (difference - difference.mean(-1, keepdim=True)).square().sum(-1) / 8
    given = method._divergence(student, teacher).sum(-1)
    torch.testing.assert_close(given.double(), expected, rtol=0.05, atol=0.01)
