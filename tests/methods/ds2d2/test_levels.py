"""Which levels of two networks stand side by side, and what adapts their channels."""

import pytest
import torch

from tests.methods.detr_pairs import build
from uavdet.methods.ds2d2.levels import FeatureAdapters, map_shapes, pair_by_grid, pair_by_order
from uavdet.methods.features import FeatureRecorder


def grids(*sides):
    return [(8, side, side) for side in sides]


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        ((80, 40, 20), (80, 40, 20), {0: 0, 1: 1, 2: 2}),
        ((80, 40, 20), (160, 80, 40), {0: 1, 1: 2}),  # the teacher sees the image at twice the size
        ((160, 80, 40, 20), (80, 40, 20), {1: 0, 2: 1, 3: 2}),  # the student has a finer level
        ((80, 40, 20), (100, 50, 25), {}),
    ],
)
def test_levels_with_as_many_cells_are_pairs(student, teacher, pairs):
    assert pair_by_grid(grids(*student), grids(*teacher)) == pairs


def test_without_equal_grids_levels_are_paired_in_order():
    assert pair_by_order(grids(80, 40, 20), grids(100, 50, 25)) == {0: 0, 1: 1, 2: 2}
    assert pair_by_order(grids(80, 40, 20, 10), grids(50, 25)) == {0: 0, 1: 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("so-detr-n.yaml", [(96, 12, 12), (96, 6, 6), (96, 3, 3)]),
        ("yolo11n.yaml", [(64, 12, 12), (128, 6, 6), (256, 3, 3)]),
    ],
)
def test_a_probe_finds_the_maps_and_changes_nothing(name, expected):
    model = build(name).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert map_shapes(model, FeatureRecorder(model), 96) == expected
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_one_adapter_serves_levels_of_the_same_widths_and_starts_as_the_identity():
    adapters = FeatureAdapters({0: (8, 8), 1: (8, 8)})
    assert len(list(adapters.parameters())) == 1
    maps = [torch.randn(2, 8, 4, 4), torch.randn(2, 8, 2, 2)]
    adapted = adapters(maps)
    assert all(torch.equal(adapted[level], maps[level]) for level in (0, 1))


def test_levels_of_other_widths_have_their_own():
    adapters = FeatureAdapters({1: (8, 16), 2: (16, 16), 3: (24, 16)})
    assert [tuple(p.weight.shape[:2]) for p in adapters.projections] == [(16, 8), (16, 16), (16, 24)]
    maps = [torch.randn(2, width, 6, 6) for width in (4, 8, 16, 24)]
    adapted = adapters(maps)
    assert sorted(adapted) == [1, 2, 3]
    for level, entry in adapted.items():
        assert entry.square().mean().item() == pytest.approx(maps[level].square().mean().item(), rel=0.35)
