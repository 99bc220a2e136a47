"""Deformable attention by gathered rows, against grid sampling and against differences."""

import pytest
import torch
from ultralytics.nn.modules.transformer import MSDeformAttn

from uavdet.engine.families import build_model, load_model_config
from uavdet.nn.deformable import DeformableAttention, gather_values

SHAPES = [[6, 5], [3, 4]]
CELLS = 42


def two_forms(precision=torch.float64):
    """Ultralytics' module and ours with the same weights, whose points reach outside the levels."""
    torch.manual_seed(0)
    theirs = MSDeformAttn(16, n_levels=2, n_heads=4, n_points=3).to(precision)
    for layer in (theirs.sampling_offsets, theirs.attention_weights):
        torch.nn.init.normal_(layer.weight, std=0.5)
    ours = DeformableAttention(16, n_levels=2, n_heads=4, n_points=3).to(precision)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def inputs(images=2, queries=7, precision=torch.float64):
    torch.manual_seed(1)
    query = torch.randn(images, queries, 16, dtype=precision, requires_grad=True)
    boxes = torch.rand(images, queries, 1, 4, dtype=precision, requires_grad=True)
    return query, boxes, torch.randn(images, CELLS, 16, dtype=precision, requires_grad=True)


@pytest.mark.parametrize("images", [1, 2])
def test_outputs_and_gradients_are_those_of_grid_sampling(images):
    theirs, ours = two_forms()
    given = inputs(images)
    expected, read = theirs(*given, SHAPES), ours(*given, SHAPES)
    torch.testing.assert_close(read, expected)
    weights = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad((read * weights).sum(), [*given, *ours.parameters()]),
        torch.autograd.grad((expected * weights).sum(), [*given, *theirs.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_several_backward_passes_and_queries_without_a_gradient():
    theirs, ours = two_forms()
    given = inputs()
    expected, read = theirs(*given, SHAPES), ours(*given, SHAPES)
    for kept in (slice(0, 0), slice(2, 4), slice(0, 7)):
        pairs = [
            torch.autograd.grad(form[:, kept].square().sum(), given, retain_graph=True) for form in (read, expected)
        ]
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other)


def test_gradients_are_those_of_differences():
    torch.manual_seed(2)
    values = torch.randn(1, CELLS, 2, 3, dtype=torch.float64, requires_grad=True)
    places = torch.rand(1, 3, 2, 4, 2, dtype=torch.float64).mul(1.4).sub(0.2).requires_grad_()
    weights = torch.rand(1, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *given: gather_values(given[0], SHAPES, *given[1:]), (values, places, weights)
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0.5, 0.5), 2.5),  # between all four cells of a level of 2 x 2
        ((0.25, 0.25), 1.0),  # the centre of the first
        ((0.75, 0.25), 2.0),
        ((0.25, 0.75), 3.0),
        ((0.0, 0.25), 0.5),  # half of it lies outside
        ((0.0, 0.0), 0.25),
        ((1.0, 1.0), 1.0),
        ((-0.3, 0.5), 0.0),
    ],
)
def test_bilinear_values_by_hand(place, expected):
    values = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    read = gather_values(values, [[2, 2]], torch.tensor(place).view(1, 1, 1, 1, 2), torch.ones(1, 1, 1, 1))
    assert read.item() == pytest.approx(expected)


@pytest.mark.parametrize("place", [float("nan"), float("inf"), -float("inf")])
def test_a_place_that_is_not_finite_reads_and_returns_what_is_not(place):
    """A training that diverges gets as far as its loss, whose check says so."""
    values = torch.ones(1, 4, 1, 1, requires_grad=True)
    places = torch.tensor([place, 0.5]).view(1, 1, 1, 1, 2).requires_grad_()
    read = gather_values(values, [[2, 2]], places, torch.ones(1, 1, 1, 1))
    assert read.isnan().all()
    assert torch.autograd.grad(read.sum(), places)[0].shape == places.shape


def test_autocast_keeps_what_is_sampled_in_float32():
    theirs, ours = two_forms(torch.float32)
    given = inputs(precision=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected, read = theirs(*given, SHAPES), ours(*given, SHAPES)
    assert read.dtype == expected.dtype
    torch.testing.assert_close(read, expected, rtol=0.05, atol=0.05)


def test_the_decoder_reads_this_way_and_has_the_same_losses_and_gradients(monkeypatch):
    torch.manual_seed(0)
    model = build_model(load_model_config("rtdetr-n.yaml"), nc=2).double().train()
    assert all(isinstance(layer.cross_attn, DeformableAttention) for layer in model.model[-1].decoder.layers)
    batch = {
        "img": torch.rand(2, 3, 64, 64, dtype=torch.float64),
        "cls": torch.zeros(3, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.2, 0.3, 0.1, 0.1], [0.6, 0.6, 0.2, 0.3]]),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
    }
    found = []
    for form in (DeformableAttention.forward, MSDeformAttn.forward):
        monkeypatch.setattr(DeformableAttention, "forward", form)
        model.zero_grad()
        terms = model.detection_loss(batch, model.predict(batch["img"]))
        sum(terms.values()).backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append(({name: term.item() for name, term in terms.items()}, gradients))
    (ours, our_gradients), (theirs, their_gradients) = found
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, their_gradients[name], rtol=1e-6, atol=1e-9, msg=name)
