"""Self-attention without weights that nobody reads, against PyTorch's."""

import pytest
import torch
from torch import nn

from uavdet.engine.families import build_model, load_model_config
from uavdet.nn.attention import SelfAttention


def two_forms(**settings):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, **settings).double()
    ours = SelfAttention(12, 3, **settings).double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_outputs_and_gradients_are_those_of_the_base_class(masked, batch_first):
    theirs, ours = two_forms(batch_first=batch_first)
    given = torch.randn((2, 7, 12) if batch_first else (7, 2, 12), dtype=torch.float64, requires_grad=True)
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if masked else None
    expected, attended = (form(given, given, given, attn_mask=mask)[0] for form in (theirs, ours))
    torch.testing.assert_close(attended, expected)
    weights = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad((attended * weights).sum(), [given, *ours.parameters()]),
        torch.autograd.grad((expected * weights).sum(), [given, *theirs.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_weights_are_there_where_somebody_asks_for_them_in_evaluation():
    theirs, ours = two_forms()
    given = torch.randn(7, 2, 12, dtype=torch.float64)
    assert ours(given, given, given)[1] is None
    torch.testing.assert_close(ours.eval()(given, given, given)[1], theirs.eval()(given, given, given)[1])


@pytest.mark.parametrize("name", ["so-detr-n.yaml", "so-detr-r18.yaml"])
def test_every_attention_of_our_models_is_of_this_kind(name):
    model = build_model(load_model_config(name), nc=2)
    found = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    assert len(found) >= 4
    assert all(isinstance(module, SelfAttention) for module in found)
