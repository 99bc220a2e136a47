"""A YOLO's head as an amplifier: what it says is what the model predicts, and its distance is the formula's."""

import pytest
import torch

from tests.methods.detr_pairs import build, scenes
from tests.methods.ds2d2.pairs import warm_up
from tests.methods.ds2d2.test_detr_amplifier import oracle_loss
from uavdet.methods.ds2d2.yolo_amplifier import YOLOAmplifier
from uavdet.methods.features import FeatureRecorder

SIDE = 96


@pytest.fixture(scope="module", params=["yolo11n.yaml", "yolo26n.yaml"])
def teacher(request):
    """Return a frozen YOLO, what enters its head for two images, and its one-to-many predictions in pixels."""
    model = warm_up(build(request.param), scenes(2, SIDE)).requires_grad_(False)
    recorder = FeatureRecorder(model)
    model.model[-1].end2end = False
    predictions, _ = model.predict(scenes(2, SIDE))
    return model, recorder.head_inputs, predictions.mT


def noisy(maps, amount=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {i: (m + amount * torch.randn(m.shape, generator=generator)).requires_grad_() for i, m in enumerate(maps)}


def test_its_predictions_are_the_models(teacher):
    model, maps, expected = teacher
    said = YOLOAmplifier(model.model[-1])._predict(dict(enumerate(maps)))
    torch.testing.assert_close(said.logits.sigmoid(), expected[..., 4:], rtol=1e-4, atol=1e-5)
    if model.model[-1].reg_max > 1:
        torch.testing.assert_close(said.boxes * SIDE, expected[..., :4], rtol=1e-4, atol=1e-3)
        assert said.sides is None
    else:  # a plain number may point inwards: the box of the IoU is bounded, the sides are as they are
        spans = (said.sides[..., :2] + said.sides[..., 2:]) * SIDE
        torch.testing.assert_close(spans, expected[..., 2:4], rtol=1e-4, atol=1e-3)
        assert said.boxes[..., 2:].min() >= 0


def test_the_loss_is_the_written_out_formula(teacher):
    model, maps, _ = teacher
    head, students = model.model[-1], noisy(maps)
    loss = YOLOAmplifier(head).loss(students, maps, None)

    def say(entries):
        logits, boxes, sides = [], [], []
        for level, entry in enumerate(entries):
            raw, scores = head.cv2[level](entry).double(), head.cv3[level](entry).double()
            _, _, height, width = entry.shape
            for y in range(height):
                for x in range(width):
                    bins = raw[:, :, y, x].view(2, 4, -1)
                    count = torch.arange(bins.shape[-1]).double()
                    ltrb = (bins.softmax(-1) * count).sum(-1) if bins.shape[-1] > 1 else bins[..., 0]
                    sides.append(ltrb / torch.tensor([width, height, width, height]).double())
                    left, top, right, bottom = sides[-1].clamp(min=1e-4).T
                    x1, y1 = (x + 0.5) / width - left, (y + 0.5) / height - top
                    x2, y2 = (x + 0.5) / width + right, (y + 0.5) / height + bottom
                    boxes.append(torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1))
                    logits.append(scores[:, :, y, x])
        return torch.stack(logits, 1), torch.stack(boxes, 1), torch.stack(sides, 1)

    (s, s_boxes, s_sides), (t, t_boxes, t_sides) = say(students.values()), say(maps)
    expected = oracle_loss(s, t, s_boxes, t_boxes, torch.ones(s.shape[:2]))
    if head.reg_max == 1:
        w = t.sigmoid().amax(-1)
        expected += (w * (s_sides - t_sides).abs().sum(-1)).sum() / max(1.0, w.sum().item())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_equal_maps_have_no_distance_and_no_gradient(teacher):
    model, maps, _ = teacher
    students = noisy(maps, 0.0)
    loss = YOLOAmplifier(model.model[-1]).loss(students, maps, None)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert all(entry.grad.abs().max() < 1e-5 for entry in students.values())


def test_sides_that_point_inwards_are_pulled_back(teacher):
    model, maps, _ = teacher
    head = model.model[-1]
    if head.reg_max > 1:
        pytest.skip("a distribution over bins cannot point inwards")
    amplifier, students = YOLOAmplifier(head), noisy(maps, 30)
    said = amplifier._predict(students)
    inverted = said.sides < 0
    assert inverted.any()
    gradient = torch.autograd.grad(amplifier.loss(students, maps, None), list(students.values()), allow_unused=True)
    assert all(torch.isfinite(entry).all() and entry.abs().sum() > 0 for entry in gradient)


def test_a_level_that_the_student_lacks_takes_no_part(teacher):
    model, maps, _ = teacher
    students = noisy(maps)
    loss = {kept: YOLOAmplifier(model.model[-1]).loss({i: students[i] for i in kept}, maps, None).item() for kept in
            ((0, 1, 2), (1, 2), (2,))}  # fmt: skip
    assert len(set(loss.values())) == 3


def test_nothing_in_an_ignored_region_takes_part(teacher):
    model, maps, _ = teacher
    students = noisy(maps)
    everywhere = torch.tensor([[[0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]]])
    YOLOAmplifier(model.model[-1]).loss(students, maps, everywhere).backward()
    assert all(entry.grad[0].abs().sum() == 0 for entry in students.values())
    assert all(entry.grad[1].abs().sum() > 0 for entry in students.values())
