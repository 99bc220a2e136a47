"""The criterion against a slow float64 version written from the papers, and against Ultralytics' at ratio 1."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from ultralytics.models.utils.loss import RTDETRDetectionLoss
from ultralytics.models.utils.ops import HungarianMatcher

from tests.losses.test_boxes import _giou, _iou, _siou_penalty
from uavdet.losses.detection import DetectionCriterion
from uavdet.losses.matching import match


def make_case(layers=3, counts=(3, 0, 4), queries=12, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    centre = torch.rand(layers, len(counts), queries, 2, generator=generator) * 0.6 + 0.2
    side = torch.rand(layers, len(counts), queries, 2, generator=generator) * 0.2 + 0.02
    boxes, logits = (
        torch.cat([centre, side], -1),
        torch.randn(layers, len(counts), queries, classes, generator=generator),
    )
    targets = {
        "cls": torch.randint(0, classes, (total,), generator=generator),
        "bboxes": torch.cat(
            [
                torch.rand(total, 2, generator=generator) * 0.6 + 0.2,
                torch.rand(total, 2, generator=generator) * 0.2 + 0.02,
            ],
            1,
        ),
        "gt_groups": list(counts),
        "image_size": (640, 640),
    }
    return boxes, logits, targets


def _slow_matches(boxes, logits, targets):
    """Match each image of each layer with costs computed box by box."""
    rows, offset = [], 0
    for image, count in enumerate(targets["gt_groups"]):
        for layer in range(len(boxes)):
            cost = np.zeros((boxes.shape[2], count))
            for q in range(boxes.shape[2]):
                for t in range(count):
                    a, b = boxes[layer, image, q].tolist(), targets["bboxes"][offset + t].tolist()
                    p = 1 / (1 + np.exp(-logits[layer, image, q, targets["cls"][offset + t]].item()))
                    positive, negative = -0.25 * (1 - p) ** 2 * np.log(p), -0.75 * p**2 * np.log(1 - p)
                    l1 = sum(abs(x - y) for x, y in zip(a, b, strict=True))
                    cost[q, t] = 2 * (positive - negative) + 5 * l1 + 2 * (1 - _giou(a, b))
            rows += [(layer, image, q, offset + t) for q, t in zip(*linear_sum_assignment(cost), strict=True)]
        offset += count
    return sorted(rows)


def _slow_losses(boxes, logits, targets, matches, ratio, siou):
    """Return classification, L1 and box terms of each layer, with their gains, over the number of matches."""
    layers, images, queries, classes = logits.shape
    terms = np.zeros((layers, 3))
    matched = {(layer, image, query): target for layer, image, query, target in matches}
    for layer in range(layers):
        for image in range(images):
            for query in range(queries):
                target = matched.get((layer, image, query))
                for category in range(classes):
                    z = logits[layer, image, query, category].item()
                    p = 1 / (1 + np.exp(-z))
                    quality, weight = 0.0, 0.75 * p**2
                    if target is not None and category == targets["cls"][target]:
                        quality = _iou(boxes[layer, image, query].tolist(), targets["bboxes"][target].tolist(), ratio)
                        weight = quality
                    terms[layer, 0] -= weight * (quality * np.log(p) + (1 - quality) * np.log(1 - p))
                if target is not None:
                    a, b = boxes[layer, image, query].tolist(), targets["bboxes"][target].tolist()
                    terms[layer, 1] += 5 * sum(abs(x - y) for x, y in zip(a, b, strict=True))
                    similarity = _iou(a, b, ratio) - _siou_penalty(a, b) if siou else _giou(a, b)
                    terms[layer, 2] += 2 * (1 - similarity)
    return terms / max(1, len(matches) / layers)


@pytest.mark.parametrize("counts", [(0, 0), (1,), (3, 0, 4), (15, 2)])
def test_matching_is_optimal(counts):
    boxes, logits, targets = make_case(counts=counts)
    given = match(boxes, logits, targets)
    rows = sorted(zip(*(t.tolist() for t in (given.layer, given.image, given.query, given.target)), strict=True))
    assert rows == _slow_matches(boxes.double(), logits.double(), targets)


def test_matching_agrees_with_ultralytics():
    boxes, logits, targets = make_case(layers=1, counts=(5, 0, 20), queries=12)
    given = match(boxes, logits, targets)
    matcher = HungarianMatcher(cost_gain={"class": 2, "bbox": 5, "giou": 2})
    expected = matcher(boxes[0], logits[0], targets["bboxes"], targets["cls"], targets["gt_groups"])
    pairs = {(i, q, t) for i, (qs, ts) in enumerate(expected) for q, t in zip(qs.tolist(), ts.tolist(), strict=True)}
    assert set(zip(given.image.tolist(), given.query.tolist(), given.target.tolist(), strict=True)) == pairs


def test_matching_survives_values_that_are_not_finite():
    boxes, logits, targets = make_case()
    boxes[0, 0, 0], logits[0, 0, 1] = float("nan"), float("inf")
    assert len(match(boxes, logits, targets)) == 3 * 7


@pytest.mark.parametrize("counts", [(1,), (3, 0, 4), (15, 2)])
@pytest.mark.parametrize(("expansion", "siou"), [(1.0, False), (1.25, True)])
def test_losses_equal_the_formulas(counts, expansion, siou):
    boxes, logits, targets = make_case(counts=counts)
    expected = _slow_losses(
        boxes.double(),
        logits.double(),
        targets,
        _slow_matches(boxes.double(), logits.double(), targets),
        expansion,
        siou,
    )
    given = DetectionCriterion(3, expansion)(boxes, logits, targets)
    for index, name in enumerate(("class", "bbox", "giou")):
        assert given[f"loss_{name}"].item() == pytest.approx(expected[-1, index], rel=1e-4)
        assert given[f"loss_{name}_aux"].item() == pytest.approx(expected[:-1, index].sum(), rel=1e-4)


def test_ratio_one_equals_ultralytics_with_rtdetrs_constants():
    boxes, logits, targets = make_case()
    stock = RTDETRDetectionLoss(nc=3, use_vfl=True, gamma=2.0, alpha=0.75)
    expected = stock((boxes, logits), {**targets, "batch_idx": torch.tensor([0] * 3 + [2] * 4)})
    given = DetectionCriterion(3)(boxes, logits, targets)
    for name in given:
        torch.testing.assert_close(given[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("expansion", [1.0, 1.25, "adaptive"])
def test_no_objects_leave_a_connected_zero(expansion):
    boxes, logits, targets = make_case(counts=(0, 0))
    boxes.requires_grad_()
    logits.requires_grad_()
    given = DetectionCriterion(3, expansion)(boxes, logits, targets)
    assert given["loss_bbox"] == given["loss_giou"] == 0
    sum(given.values()).backward()
    assert boxes.grad.abs().sum() == 0
    assert logits.grad.abs().sum() > 0


def test_adaptive_expansion_lies_between_its_ends():
    boxes, logits, targets = make_case()
    plain, fixed, adaptive = (DetectionCriterion(3, e, "siou")(boxes, logits, targets) for e in (1.0, 1.25, "adaptive"))
    assert fixed["loss_giou"] < adaptive["loss_giou"] < plain["loss_giou"]


def test_box_loss_can_be_chosen_apart_from_the_expansion():
    boxes, logits, targets = make_case()
    plain, siou = (DetectionCriterion(3, 1.0, box)(boxes, logits, targets) for box in (None, "siou"))
    torch.testing.assert_close(plain["loss_class"], siou["loss_class"])
    assert plain["loss_giou"] != siou["loss_giou"]


def test_denoising_queries_are_scored_against_their_own_objects():
    boxes, logits, targets = make_case(counts=(2, 1))
    dn_boxes, dn_logits = boxes[1:, :, :8].clone(), logits[1:, :, :8]
    meta = {
        "dn_pos_idx": [torch.tensor([0, 1, 4, 5]), torch.tensor([0, 4])],
        "dn_gt_idx": [torch.tensor([0, 1]), torch.tensor([2])],
        "dn_num_group": 2,
    }
    given = DetectionCriterion(3, 1.25)(boxes, logits, targets, (dn_boxes, dn_logits, meta))
    matches = [
        (layer, image, query, target)
        for layer in range(2)
        for image, query, target in [(0, 0, 0), (0, 1, 1), (0, 4, 0), (0, 5, 1), (1, 0, 2), (1, 4, 2)]
    ]
    expected = _slow_losses(dn_boxes.double(), dn_logits.double(), targets, matches, 1.25, siou=True)
    for index, name in enumerate(("class", "bbox", "giou")):
        assert given[f"loss_{name}_dn"].item() == pytest.approx(expected[-1, index], rel=1e-4)
        assert given[f"loss_{name}_aux_dn"].item() == pytest.approx(expected[:-1, index].sum(), rel=1e-4)


def test_quality_carries_no_gradient_to_the_boxes():
    boxes, logits, targets = make_case()
    boxes.requires_grad_()
    DetectionCriterion(3, 1.25)(boxes, logits, targets)["loss_class"].backward()
    assert boxes.grad is None or boxes.grad.abs().sum() == 0


def test_batch_order_does_not_matter():
    boxes, logits, targets = make_case(counts=(3, 4))
    swapped = {**targets, "gt_groups": [4, 3]}
    order = [3, 4, 5, 6, 0, 1, 2]
    swapped |= {"cls": targets["cls"][order], "bboxes": targets["bboxes"][order]}
    criterion = DetectionCriterion(3, 1.25)
    first, second = criterion(boxes, logits, targets), criterion(boxes.flip(1), logits.flip(1), swapped)
    for name in first:
        torch.testing.assert_close(first[name], second[name])
