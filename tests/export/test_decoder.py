"""The decoder of exported graphs against the one that trains."""

import numpy as np
import pytest
import torch
from torch import nn
from ultralytics.nn.modules.transformer import MSDeformAttn

from tests.export.networks import assert_same_detections, detect, make_model
from uavdet.export.decoder import GraphAttention, SampledAttention, finite_anchors, logit
from uavdet.export.network import NetworkOptions, exported_network


@pytest.mark.parametrize("probability", [0.0, 1e-6, 0.25, 0.5, 0.9998, 1.0])
def test_the_logit_is_that_of_the_formula(probability):
    clamped = [max(value, 1e-5) for value in (probability, 1 - probability)]
    assert logit(torch.tensor(probability)).item() == pytest.approx(np.log(clamped[0] / clamped[1]), abs=2e-3)


def test_the_logit_stays_finite_in_half_precision_where_the_ratio_overflows():
    box = torch.tensor(1.0, dtype=torch.float16)
    assert (box / torch.tensor(1e-5).half()).isinf()
    assert logit(box).isfinite()


def test_anchors_outside_the_image_are_finite_and_still_one():
    anchors = finite_anchors(torch.tensor([[[0.5, float("inf")], [-1.0, 2.0]]]))
    assert anchors.isfinite().all()
    assert anchors[0, 0, 1].sigmoid() == torch.tensor(float("inf")).sigmoid() == 1
    assert anchors.half()[0, 0, 1].sigmoid() == 1
    assert anchors[0, 1].tolist() == [-1.0, 2.0]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("batch", "queries"), [(1, 1), (3, 7)])
def test_attention_is_that_of_pytorch(batch_first, batch, queries):
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(32, 4, batch_first=batch_first).eval()
    nn.init.normal_(plain.in_proj_bias)
    shape = (batch, queries, 32) if batch_first else (queries, batch, 32)
    query, value = torch.randn(shape), torch.randn(shape)
    with torch.no_grad():
        expected = plain(query, query, value)[0]
        torch.testing.assert_close(GraphAttention(plain)(query, query, value=value)[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
def test_sampling_is_that_of_ultralytics(batch):
    torch.manual_seed(0)
    attention = MSDeformAttn(32, n_levels=2, n_heads=4, n_points=4).eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    maps = [torch.randn(batch, 32, 6, 8), torch.randn(batch, 32, 3, 4)]
    query, boxes = torch.randn(batch, 5, 32), torch.rand(batch, 5, 4)
    tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
    with torch.no_grad():
        expected = attention(query, boxes.unsqueeze(2), tokens, [[6, 8], [3, 4]])
        found = SampledAttention(attention, [nn.Identity()] * 2)(query, boxes, maps)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (128, 64)])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_network_detects_what_the_model_does(size, batch):
    model = make_model("so-detr-n")
    torch.manual_seed(batch)  # images without a tie for the last query: rounding decides those
    images = torch.rand(batch, 3, *size)
    with torch.no_grad():
        rows = exported_network(model, NetworkOptions(imgsz=size))(images)
    assert_same_detections(rows.numpy(), detect(model, images))


@pytest.mark.parametrize("towards", [-1.0, 1.0])
def test_tokens_outside_the_image_are_chosen_where_the_model_does(towards):
    size = (64, 448)  # so wide that anchors in the first and the last column lie outside
    model, images = make_model("so-detr-n", queries=150), torch.rand(2, 3, *size)
    head = model.model[-1]
    with torch.no_grad():
        outside = head.enc_output(torch.zeros(1, head.hidden_dim))
        head.enc_score_head.weight.copy_(towards * outside.expand(head.nc, -1))
        rows = exported_network(model, NetworkOptions(imgsz=size))(images)
    expected = detect(model, images)
    assert not head.valid_mask.all()
    assert_same_detections(rows.numpy(), expected)


def test_learned_queries_are_part_of_the_network():
    model, images = make_model("rtdetr-n"), torch.rand(2, 3, 64, 64)
    head = model.model[-1]
    head.learnt_init_query, head.tgt_embed = True, nn.Embedding(30, head.hidden_dim)
    with torch.no_grad():
        rows = exported_network(model, NetworkOptions(imgsz=(64, 64)))(images)
    assert_same_detections(rows.numpy(), detect(model, images))


def test_the_model_stays_as_it_is():
    model, images = make_model("so-detr-n"), torch.rand(1, 3, 64, 64)
    before, state = detect(model, images), {key: value.clone() for key, value in model.state_dict().items()}
    exported_network(model, NetworkOptions(imgsz=(64, 64)))
    np.testing.assert_array_equal(detect(model, images), before)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
