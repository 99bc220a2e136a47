"""Distillation points: what a decoder saw, asked again and drawn anew."""

import copy

import pytest
import torch

from tests.methods.detr_pairs import build, freeze_statistics, scene_batch
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.kd_detr.method import make_projector
from uavdet.methods.kd_detr.points import DecoderInputs, Queries, decode, draw_queries, memory_of_maps


@pytest.fixture(scope="module", params=["rtdetr-n.yaml", "rtdetr-resnet50.yaml"])
def seen(request):
    """Return a head after a forward pass in training, what its decoder saw and answered, and its recorded maps."""
    model = freeze_statistics(build(request.param, queries=12))
    model.model[-1].num_denoising = 0
    inputs, recorder = DecoderInputs(model.model[-1]), FeatureRecorder(model)
    with torch.no_grad():
        preds = model.predict(scene_batch(2)["img"])
    return model.model[-1], inputs, preds, memory_of_maps(recorder.memory)


def test_the_same_queries_get_the_same_answers(seen):
    head, inputs, preds, memory = seen
    torch.testing.assert_close(memory.tokens, inputs.memory.tokens)
    assert memory.shapes == inputs.memory.shapes
    with torch.no_grad():
        boxes, logits = decode(head, inputs.queries, memory)
    torch.testing.assert_close(boxes, preds[0])
    torch.testing.assert_close(logits, preds[1])


def test_asking_again_leaves_no_trace(seen):
    head, inputs, _, memory = seen
    before = copy.deepcopy(head.state_dict())
    queries, mode = inputs.queries, head.decoder.training
    with torch.no_grad():
        decode(head, draw_queries(head, memory, 3), memory)
    assert inputs.queries is queries
    assert head.decoder.training is mode
    for key, value in head.state_dict().items():
        assert torch.equal(before[key], value), key


def test_queries_are_drawn_from_all_usable_proposals(seen):
    head, _, _, memory = seen
    torch.manual_seed(0)
    drawn = draw_queries(head, memory, 500)
    assert drawn.content.shape == (2, 500, head.hidden_dim)
    assert torch.isfinite(drawn.references).all()
    torch.manual_seed(0)
    assert torch.equal(draw_queries(head, memory, 500).references, drawn.references)
    features = head.enc_output(head.valid_mask * memory.tokens)
    proposals = (head.enc_bbox_head(features) + head.anchors)[0]
    proposals = proposals[torch.isfinite(proposals).all(-1)]
    distance = (drawn.references[0].unsqueeze(1) - proposals).abs().sum(-1)
    assert distance.amin(1).max() < 1e-3
    assert len(distance.argmin(1).unique()) > 12


@pytest.mark.parametrize(("teacher", "student"), [(256, 96), (96, 96), (96, 256)])
def test_a_projector_keeps_the_variance_of_queries(teacher, student):
    torch.manual_seed(0)
    projector = make_projector(teacher, student)
    queries = torch.randn(1000, teacher)
    with torch.no_grad():
        projected = projector(queries)
    assert projected.var() == pytest.approx(1, abs=0.05)
    if teacher == student:
        assert torch.equal(projected, queries)


def test_boxes_are_not_rounded_to_bfloat16(seen):
    head, inputs, _, memory = seen
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = Queries(inputs.queries.content.bfloat16(), inputs.queries.references.bfloat16())
        boxes, _ = decode(head, rounded, memory)
    assert boxes.dtype == torch.float32
