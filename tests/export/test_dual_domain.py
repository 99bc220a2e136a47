"""The dual-domain block of exported graphs against the one that trains."""

import pytest
import torch

from tests.export.networks import make_model
from uavdet.engine.profile import fused_copy
from uavdet.export.dual_domain import GraphDDF, replace_dual_domain
from uavdet.nn.ddf import DDF, EquivariantDDF


def make_block(channels=16, fraction=0.25):
    block = DDF(channels, fraction).eval()
    block.f, block.i = -1, 3
    for part in (block.mix_in, block.mix_out):
        part.bn.running_mean.normal_()
        part.bn.running_var.uniform_(0.5, 2.0)
    torch.nn.init.normal_(block.kernel.modulation.alpha)
    return block


def fuse(block):
    from ultralytics.utils.torch_utils import fuse_conv_and_bn

    for part in (block.mix_in, block.mix_out):
        part.conv = fuse_conv_and_bn(part.conv, part.bn)
        part.forward = part.forward_fuse
    return block


@pytest.mark.parametrize("shape", [(1, 16, 8, 8), (3, 16, 6, 10)])
@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_the_block_does_what_the_one_that_trains_does(shape, fraction):
    torch.manual_seed(0)
    block, image = make_block(fraction=fraction), torch.randn(shape)
    with torch.no_grad():
        expected = block(image)
        found = GraphDDF(fuse(block))
        torch.testing.assert_close(found(image), expected, atol=1e-4, rtol=1e-4)
    assert (found.f, found.i) == (-1, 3)


@pytest.mark.parametrize(
    ("name", "replaced"), [("so-detr-r18", [GraphDDF]), ("so-detr-n", [EquivariantDDF]), ("rtdetr-n", [])]
)
def test_rows_of_that_block_alone_are_replaced(name, replaced):
    detector = fused_copy(make_model(name))
    names = [key for key, _ in detector.model.named_children()]
    replace_dual_domain(detector)
    blocks = (DDF, EquivariantDDF, GraphDDF)
    assert [type(row) for row in detector.model if isinstance(row, blocks)] == replaced
    assert [key for key, _ in detector.model.named_children()] == names


def test_a_block_without_a_spatial_path_stays():
    detector = torch.nn.Module()
    detector.model = torch.nn.Sequential(make_block(fraction=1.0))
    replace_dual_domain(detector)
    assert type(detector.model[0]) is DDF
