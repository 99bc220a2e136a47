"""The auxiliary pass: the head once more, and nothing else moved."""

import pytest
import torch

from tests.methods.detr_pairs import freeze_statistics
from tests.methods.spectral_enhancement.mounted import batch_of, mount, network, norm_buffers
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.spectral_enhancement.auxiliary import (
    auxiliary_terms,
    branch_losses,
    branch_names,
    untouched_statistics,
)

FAMILIES = ["so-detr-n.yaml", "rtdetr-resnet50.yaml", "yolo11n.yaml", "yolo26n.yaml"]


@pytest.mark.parametrize("name", FAMILIES)
def test_on_the_same_maps_it_gives_the_terms_of_the_main_pass(name):
    model, batch = network(name), batch_of((3, 0, 2))
    if "yolo" not in name:
        model.model[-1].num_denoising = 0
    recorder = FeatureRecorder(model)
    model.plain_loss(batch, model.training_outputs(batch))
    main, maps, before = model.loss_terms, recorder.head_inputs, norm_buffers(model)
    given = auxiliary_terms(model, recorder, maps, batch)
    assert model.loss_terms is main
    assert all(kept is level for kept, level in zip(recorder.head_inputs, maps, strict=True))
    assert given is not main
    assert list(given) == list(main)
    for key, value in main.items():
        assert given[key].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-7), key
    for key, value in norm_buffers(model).items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", ["rtdetr-n.yaml", "yolo26n.yaml"])
def test_other_maps_leave_statistics_as_they_are_and_use_their_own(name):
    model, batch = network(name), batch_of()
    recorder = FeatureRecorder(model)
    model.plain_loss(batch, model.training_outputs(batch))
    before = norm_buffers(model)
    maps = [level.detach() for level in recorder.head_inputs]
    shifted = auxiliary_terms(model, recorder, [3 * level for level in maps], batch)
    for key, value in norm_buffers(model).items():
        assert torch.equal(value, before[key]), key
    frozen = auxiliary_terms(freeze_statistics(model), recorder, [3 * level for level in maps], batch)
    assert sum(shifted.values()).item() != pytest.approx(sum(frozen.values()).item(), rel=1e-3)


def fail(model):
    with untouched_statistics(model):
        assert not any(module.track_running_stats for module in model.modules() if hasattr(module, "running_mean"))
        raise ValueError("stop")


def test_layers_track_again_after_a_pass_that_fails():
    model = network()
    with pytest.raises(ValueError, match="stop"):
        fail(model)
    assert all(module.track_running_stats for module in model.modules() if hasattr(module, "running_mean"))


@pytest.mark.parametrize("denoising", [False, True])
def test_denoising_takes_part_where_it_is_asked_for(denoising):
    model, batch = network(), batch_of()
    recorder = FeatureRecorder(model)
    model.plain_loss(batch, model.training_outputs(batch))
    assert "loss_class_dn" in model.loss_terms
    terms = auxiliary_terms(model, recorder, recorder.head_inputs, batch, denoising=denoising)
    assert ("loss_class_dn" in terms) == denoising


TERMS = {f"loss_{kind}{suffix}": float(value + 10 * place)
    for place, suffix in enumerate(("", "_aux", "_dn", "_aux_dn"))
    for value, kind in enumerate(("class", "bbox", "giou"), 1)}  # fmt: skip


@pytest.mark.parametrize(
    ("which", "expected"), [("final", [1, 2, 3]), ("matching", [12, 14, 16]), ("all", [64, 68, 72])]
)
def test_the_branches_of_a_detr(which, expected):
    terms = {name: torch.tensor(value) for name, value in TERMS.items()}
    losses = branch_losses(network(), terms, which)
    assert list(losses) == ["class", "l1", "box"]
    assert [loss.item() for loss in losses.values()] == expected


@pytest.mark.parametrize(("name", "third"), [("yolo11n.yaml", "dfl"), ("yolo26n.yaml", "l1")])
def test_the_branches_of_a_yolo(name, third):
    model, batch = network(name), batch_of()
    model.plain_loss(batch, model.training_outputs(batch))
    assert branch_names(model) == ("box", "cls", third)
    losses = branch_losses(model, model.loss_terms)
    assert list(losses) == ["box", "cls", third]
    for branch, loss in losses.items():
        assert loss is model.loss_terms[f"{branch}_loss"]


def test_every_term_is_of_one_branch():
    model, batch = network(), batch_of()
    method = mount(model, perturbation=False, aux_denoising=True)
    outputs = model.training_outputs(batch)
    model.plain_loss(batch, outputs)
    total = sum(branch_losses(model, model.loss_terms).values())
    assert total.item() == pytest.approx(sum(model.loss_terms.values()).item(), rel=1e-6)
    assert list(method.losses(model, batch, outputs)) == ["set_class_loss", "set_l1_loss", "set_box_loss"]
