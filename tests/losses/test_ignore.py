"""Ignored regions in the losses: against a pixel mask, and that they change what they should and nothing else."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ultralytics.utils import DEFAULT_CFG

from tests.losses.test_detection import make_case
from uavdet.engine.families import build_model, load_model_config
from uavdet.losses.detection import DetectionCriterion, varifocal_loss
from uavdet.losses.ignore import ignored_cells, in_ignored_region, regions_of_batch
from uavdet.losses.matching import match


def batch_of(rows, images=3, **more):
    """Return a batch with regions given as (image, x1, y1, x2, y2)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    image = torch.zeros(images, 3, 64, 64)
    return {"img": image, "ignore_bboxes": table[:, 1:], "ignore_batch_idx": table[:, 0].long(), **more}


def test_no_regions():
    boxes = torch.rand(2, 3, 5, 4)
    assert regions_of_batch(batch_of([])) is None
    assert regions_of_batch({"img": torch.zeros(2, 3, 8, 8)}) is None
    assert not in_ignored_region(boxes, None).any()
    assert in_ignored_region(torch.zeros(3, 0, 4), regions_of_batch(batch_of([(1, 0, 0, 1, 1)]))).shape == (3, 0)


def test_regions_are_padded_with_boxes_that_cover_nothing():
    regions = regions_of_batch(batch_of([(0, 0, 0, 0.5, 0.5), (2, 0, 0, 0.2, 0.2), (2, 0.5, 0.5, 1, 1)]))
    assert regions.shape == (3, 2, 4)
    everywhere = torch.tensor([[0.0, 0, 0.1, 0.1], [0.25, 0.25, 0.1, 0.1]]).expand(3, 2, 4)
    assert in_ignored_region(everywhere, regions).tolist() == [[True, True], [False, False], [True, False]]


@pytest.mark.parametrize(
    ("box", "ignored"),
    [
        ((0.25, 0.25, 0.1, 0.1), True),
        ((0.75, 0.75, 0.1, 0.1), False),
        ((0.49, 0.25, 0.4, 0.1), True),  # the centre is inside
        ((0.50, 0.25, 0.4, 0.1), True),  # half of the area is inside
        ((0.51, 0.25, 0.4, 0.1), False),  # 47.5 % of the area
        ((0.6, 0.6, 0.0, 0.0), False),
        ((0.4, 0.4, 0.0, 0.0), True),  # a point
        ((0.25, 0.25, -0.1, -0.1), True),  # an inside-out box counts by its centre
    ],
)
def test_the_rule(box, ignored):
    regions = regions_of_batch(batch_of([(0, 0, 0, 0.5, 0.5)], images=1))
    assert in_ignored_region(torch.tensor(box).view(1, 1, 4), regions).item() is ignored


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_against_a_pixel_mask(dtype):
    rng, side = np.random.default_rng(0), 64
    mask = np.zeros((side, side), bool)
    rows, taken = [], [(4, 6, 20, 30), (20, 6, 40, 12), (44, 44, 64, 64), (0, 50, 8, 60)]  # two of them touch
    for x1, y1, x2, y2 in taken:
        mask[y1:y2, x1:x2] = True
        rows.append((0, x1 / side, y1 / side, x2 / side, y2 / side))
    corner, extent = rng.integers(0, 44, (300, 2)), 2 * rng.integers(1, 10, (300, 2))
    boxes = np.concatenate([corner + extent / 2, extent], 1)
    expected = []
    for (x, y), (w, h) in zip(corner, extent, strict=True):
        part = mask[y : y + h, x : x + w]
        expected.append(bool(mask[y + h // 2, x + w // 2]) or part.sum() >= 0.5 * w * h)
    given = torch.tensor(boxes / side, dtype=dtype)[None]  # 64ths are exact in bfloat16
    assert in_ignored_region(given, regions_of_batch(batch_of(rows, images=1)))[0].tolist() == expected


def test_cells_without_regions():
    assert ignored_cells((2, 4), None) is None
    assert not ignored_cells((2, 4), torch.zeros(3, 2, 4)).any()  # the padding of `regions_of_batch`


@pytest.mark.parametrize(
    ("region", "inside"),
    [
        ((0.25, 0.5, 0.5, 1.0), {(1, 1)}),  # one cell of a map of 2 x 4
        ((0.0, 0.0, 0.5, 1.0), {(0, 0), (0, 1), (1, 0), (1, 1)}),
        ((0.125, 0.0, 0.375, 0.5), {(0, 0), (0, 1)}),  # the right half of a cell, and the left half of the next
        ((0.13, 0.0, 0.37, 0.5), set()),  # less of both
        ((0.9, 0.8, 1.0, 1.0), set()),
    ],
)
def test_cells_that_lie_in_a_region(region, inside):
    cells = ignored_cells((2, 4), regions_of_batch(batch_of([(1, *region)], images=2)))
    assert cells.shape == (2, 1, 2, 4)
    assert {tuple(place) for place in cells[1, 0].nonzero().tolist()} == inside
    assert not cells[0].any()


def regions_over(boxes, image, query, images=3):
    """Return regions that hold just the given query's box."""
    cx, cy, w, h = boxes[0, image, query].tolist()
    return regions_of_batch(batch_of([(image, cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)], images))


def test_an_unmatched_query_in_a_region_is_not_pushed_to_background():
    boxes, logits, targets = make_case(layers=1)
    criterion = DetectionCriterion(3)
    plain = criterion(boxes, logits, targets)
    matched = set(match(boxes, logits, targets).query[:3].tolist())
    query = next(q for q in range(12) if q not in matched)
    regions = regions_over(boxes, 0, query)
    inside = in_ignored_region(boxes, regions)[0, 0]
    left_out = [q for q in range(12) if inside[q] and q not in matched]
    assert query in left_out
    changed = criterion(boxes, logits, {**targets, "ignore_regions": regions})
    zero = torch.zeros(len(left_out), 3)
    pushed = varifocal_loss(logits[0, 0, left_out], zero, zero, 0.75, 2.0).sum() / 7
    torch.testing.assert_close(changed["loss_class"], plain["loss_class"] - pushed)
    assert torch.equal(changed["loss_bbox"], plain["loss_bbox"])
    assert torch.equal(changed["loss_giou"], plain["loss_giou"])


def test_a_matched_query_trains_as_always():
    boxes, logits, targets = make_case(layers=1, queries=4, counts=(4, 0, 0))
    logits.requires_grad_()
    regions = regions_of_batch(batch_of([(0, 0, 0, 1, 1)]))
    plain = torch.autograd.grad(DetectionCriterion(3)(boxes, logits, targets)["loss_class"], logits)[0]
    ignoring = DetectionCriterion(3)(boxes, logits, {**targets, "ignore_regions": regions})["loss_class"]
    given = torch.autograd.grad(ignoring, logits)[0]
    assert torch.equal(given[0, 0], plain[0, 0])  # all four queries are matched
    assert torch.equal(given[0, 1:], plain[0, 1:])  # other images have no region


def test_negative_denoising_queries_in_a_region_give_no_loss():
    boxes, logits, targets = make_case(layers=1, counts=(1, 0, 0))
    meta = {
        "dn_pos_idx": [torch.tensor([0]), torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long)],
        "dn_gt_idx": [torch.tensor([0]), torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long)],
        "dn_num_group": 1,
    }
    dn_boxes, dn_logits = boxes[:, :, :2].clone(), logits[:, :, :2].clone()
    with_region = {**targets, "ignore_regions": regions_of_batch(batch_of([(0, 0, 0, 1, 1)]))}
    plain = DetectionCriterion(3)(boxes, logits, targets, (dn_boxes, dn_logits, meta))
    changed = DetectionCriterion(3)(boxes, logits, with_region, (dn_boxes, dn_logits, meta))
    zero = torch.zeros(1, 3)
    negative = varifocal_loss(dn_logits[0, 0, 1:2], zero, zero, 0.75, 2.0).sum()
    torch.testing.assert_close(changed["loss_class_dn"], plain["loss_class_dn"] - negative)
    assert torch.equal(changed["loss_bbox_dn"], plain["loss_bbox_dn"])


def test_no_query_is_left_to_push():
    boxes, logits, targets = make_case(layers=2, counts=(0, 0, 0))
    logits.requires_grad_()
    everywhere = regions_of_batch(batch_of([(i, 0, 0, 1, 1) for i in range(3)]))
    losses = DetectionCriterion(3)(boxes, logits, {**targets, "ignore_regions": everywhere})
    assert all(value == 0 for value in losses.values())
    sum(losses.values()).backward()
    assert not logits.grad.any()


def model_and_batch(name, regions):
    torch.manual_seed(0)
    model = build_model(load_model_config(name), nc=2).train()
    model.args = DEFAULT_CFG
    torch.manual_seed(1)
    images = torch.rand(2, 3, 64, 64)
    objects = {"cls": torch.zeros(1, 1), "bboxes": torch.tensor([[0.3, 0.3, 0.2, 0.2]]), "batch_idx": torch.zeros(1)}
    return model, {**batch_of(regions, images=2), "img": images, **objects}


@pytest.mark.parametrize("name", ["so-detr-n.yaml", "rtdetr-resnet50.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_every_family_honours_regions(name):
    """With a region over the whole second image its logits get no gradient; without regions nothing changes."""
    totals = {}
    for case, rows in {"none": [], "image": [(1, 0, 0, 1, 1)]}.items():
        model, batch = model_and_batch(name, rows)
        torch.manual_seed(2)
        total, _ = model.loss(batch)
        totals[case] = total.sum().item()
    model, batch = model_and_batch(name, [])
    batch = {key: value for key, value in batch.items() if "ignore" not in key}
    torch.manual_seed(2)
    assert model.loss(batch)[0].sum().item() == pytest.approx(totals["none"], rel=1e-6)
    assert totals["image"] < totals["none"] * (1 - 1e-5)


def test_yolo_leaves_out_exactly_the_background_of_the_region():
    model, batch = model_and_batch("yolo11n.yaml", [(1, 0, 0, 1, 1)])
    preds = {key: value.detach() if key != "feats" else value for key, value in model.predict(batch["img"]).items()}
    model.criterion = model.init_criterion()
    assigned = []
    model.criterion.assigner.assigner.register_forward_hook(lambda _, __, out: assigned.append(out))
    ignoring = model.loss(batch, preds)[0][1]
    model.criterion.assigner.boxes = None
    plain = model.loss({**batch, "ignore_bboxes": torch.zeros(0, 4)}, preds)[0][1]
    scores = preds["scores"][1]
    pushed = F.binary_cross_entropy_with_logits(scores, torch.zeros_like(scores), reduction="sum")
    normaliser = assigned[0][2].sum().clamp(min=1)
    torch.testing.assert_close(plain - ignoring, pushed / normaliser * DEFAULT_CFG.cls * 2)
