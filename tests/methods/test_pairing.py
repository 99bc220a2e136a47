"""Pairs of queries against exhaustive search in float64."""

import itertools
import math

import pytest
import torch

from uavdet.methods.pairing import pair_by_rank, pair_queries


def predictions(images, queries, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(images, queries, 4, generator=generator) * 0.4 + 0.2
    return boxes, torch.randn(images, queries, classes, generator=generator) * 2


def _giou(a, b):
    def corners(box):
        return box[0] - box[2] / 2, box[1] - box[3] / 2, box[0] + box[2] / 2, box[1] + box[3] / 2

    (a1, a2, a3, a4), (b1, b2, b3, b4) = corners(a), corners(b)
    overlap = max(0, min(a3, b3) - max(a1, b1)) * max(0, min(a4, b4) - max(a2, b2))
    union = a[2] * a[3] + b[2] * b[3] - overlap
    hull = (max(a3, b3) - min(a1, b1)) * (max(a4, b4) - min(a2, b2))
    return overlap / union - (hull - union) / hull


def _cost(student_box, student_logits, teacher_box, teacher_logits):
    """Return RT-DETR's matching cost in float64, its class term averaged over the teacher's probabilities."""
    focal = 0.0
    for z, t in zip(student_logits, teacher_logits, strict=True):
        s, p = 1 / (1 + math.exp(-z)), 1 / (1 + math.exp(-t))
        focal += p * (0.25 * (1 - s) ** 2 * -math.log(s + 1e-8) - 0.75 * s**2 * -math.log(1 - s + 1e-8))
    distance = sum(abs(a - b) for a, b in zip(student_box, teacher_box, strict=True))
    return 2 * focal + 5 * distance + 2 * (1 - _giou(student_box, teacher_box))


@pytest.mark.parametrize("seed", range(5))
def test_pairs_have_the_least_total_cost(seed):
    (boxes, logits), (wanted, wanted_logits) = predictions(2, 5, seed=seed), predictions(2, 5, seed=100 + seed)
    image, query, teacher = pair_queries(boxes, logits, wanted, wanted_logits)
    assert image.tolist() == [0] * 5 + [1] * 5
    for index in range(2):
        cost = [
            [_cost(*p) for p in ((b, z, tb, tz) for tb, tz in zip(*other, strict=True))]
            for other in [(wanted[index].tolist(), wanted_logits[index].tolist())]
            for b, z in zip(boxes[index].tolist(), logits[index].tolist(), strict=True)
        ]
        best = min(sum(cost[q][t] for q, t in enumerate(order)) for order in itertools.permutations(range(5)))
        given = sum(
            cost[q][t] for i, q, t in zip(image.tolist(), query.tolist(), teacher.tolist(), strict=True) if i == index
        )
        assert given == pytest.approx(best, rel=1e-5)


def test_equal_networks_are_paired_with_themselves_in_whatever_order():
    boxes, logits = predictions(3, 40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    _, query, teacher = pair_queries(boxes, logits, boxes[:, order], logits[:, order])
    assert torch.equal(order[teacher], query)


@pytest.mark.parametrize(("students", "teachers", "pairs"), [(4, 9, 4), (9, 4, 4), (1, 1, 1), (3, 1000, 3)])
def test_queries_of_different_number(students, teachers, pairs):
    image, query, teacher = pair_queries(*predictions(2, students), *predictions(2, teachers, seed=3))
    for index in range(2):
        assert len(set(query[image == index].tolist())) == pairs
        assert len(set(teacher[image == index].tolist())) == pairs


def test_the_teachers_most_confident_take_part_where_there_are_too_many():
    boxes, logits = predictions(1, 6, seed=4)
    _, _, teacher = pair_queries(boxes[:, :2], torch.full((1, 2, 3), -8.0), boxes, logits)
    assert sorted(teacher.tolist()) == sorted(logits[0].amax(-1).topk(2).indices.tolist())


def test_queries_that_take_no_part_have_no_pair():
    keep = torch.zeros(2, 6, dtype=torch.bool)
    image, query, teacher = pair_queries(*predictions(2, 4), *predictions(2, 6), keep)
    assert image.numel() == query.numel() == teacher.numel() == 0
    keep[1, [2, 5]] = True
    image, _, teacher = pair_queries(*predictions(2, 4), *predictions(2, 6), keep)
    assert image.tolist() == [1, 1]
    assert sorted(teacher.tolist()) == [2, 5]


def test_predictions_that_are_not_finite_are_paired_all_the_same():
    boxes, logits = predictions(1, 4)
    boxes[0, 1], logits[0, 2] = float("nan"), float("inf")
    _, query, _ = pair_queries(boxes, logits, *predictions(1, 4, seed=2))
    assert sorted(query.tolist()) == [0, 1, 2, 3]


def test_half_precision_is_taken_and_nothing_has_a_gradient():
    boxes, logits = predictions(1, 4)
    student = boxes.bfloat16().requires_grad_(), logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(not index.requires_grad for index in pair_queries(*student, boxes, logits))


def test_pairing_by_rank():
    keep = torch.tensor([[True, False, True], [True, True, True]])
    image, query, teacher = pair_by_rank(2, keep)
    assert image.tolist() == [0, 1, 1]
    assert query.tolist() == teacher.tolist() == [0, 0, 1]
