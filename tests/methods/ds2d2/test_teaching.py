"""It teaches: with the detection loss off, each distance halves on a few images, and boxes come to agree."""

import pytest
import torch

import uavdet.methods.ds2d2.detr_amplifier as detr
import uavdet.methods.ds2d2.yolo_amplifier as yolo
from tests.methods.detr_pairs import build, scenes
from tests.methods.ds2d2.pairs import batch_of, losses, mount, save_teacher
from uavdet.losses.boxes import iou

STEPS = 200


def agreement(method, student, batch):
    """Return the mean IoU of the boxes that the teacher's head sees in both networks' maps, by its confidence."""
    module = detr if hasattr(method.full, "decoder") else yolo
    calls, original = [], module.imitation_loss
    module.imitation_loss = lambda *given: calls.append(given) or original(*given)
    try:
        with torch.no_grad():
            losses(method, student, batch)
    finally:
        module.imitation_loss = original
    said, expected, _ = calls[0]
    confidence = expected.logits.sigmoid().amax(-1)
    return float((confidence * iou(said.boxes, expected.boxes)).sum() / confidence.sum())


@pytest.mark.parametrize(
    ("student_name", "teacher_name"),
    [("rtdetr-n.yaml", "so-detr-n.yaml"), ("yolo11n.yaml", "yolo11s.yaml"), ("yolo26n.yaml", "yolo26s.yaml")],
)
def test_each_distance_halves_and_boxes_come_to_agree(student_name, teacher_name, tmp_path):
    images = scenes(2, 128)
    teacher = save_teacher(tmp_path, teacher_name, images=images)
    amplifier = save_teacher(tmp_path, teacher_name, images=images, wavelet="haar")
    student, batch = build(student_name, 1).train(), batch_of(images)
    method, trainer = mount(student, 128, teacher=str(teacher), amplifier=str(amplifier), low=1, high=1, amplified=1)
    before = agreement(method, student, batch)
    parameters = [*student.parameters(), *trainer.student_extras.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    first = now = None
    for _ in range(STEPS):
        given = losses(method, student, batch)
        now = {name: loss.item() for name, loss in given.items()}
        first = first or now
        if all(now[name] <= first[name] / 2 for name in first):
            break
        optimizer.zero_grad()
        sum(given.values()).backward()
        optimizer.step()
    assert all(now[name] <= first[name] / 2 for name in first), (first, now)
    assert agreement(method, student, batch) > before
