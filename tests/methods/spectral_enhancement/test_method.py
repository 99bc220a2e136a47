"""SET on detectors: what the auxiliary pass sees, what it trains, and what it leaves alone."""

import copy

import pytest
import torch

from tests.methods.detr_pairs import freeze_statistics, with_region
from tests.methods.spectral_enhancement.mounted import batch_of, mount, network, numbers, step
from uavdet.errors import UsageError
from uavdet.losses.ignore import ignored_cells, regions_of_batch
from uavdet.methods.extras import StudentExtras
from uavdet.methods.spectral_enhancement import SpectralEnhancement
from uavdet.methods.spectral_enhancement.auxiliary import auxiliary_terms, branch_losses
from uavdet.methods.spectral_enhancement.foreground import foreground_cells
from uavdet.methods.spectral_enhancement.method import mean_square
from uavdet.methods.spectral_enhancement.perturbation import adversarial_perturbation

COLUMNS = {
    "so-detr-n-set.yaml": ["set_class_loss", "set_l1_loss", "set_box_loss"],
    "rtdetr-resnet50.yaml": ["set_class_loss", "set_l1_loss", "set_box_loss"],
    "yolo11n.yaml": ["set_box_loss", "set_cls_loss", "set_dfl_loss"],
    "yolo26n.yaml": ["set_box_loss", "set_cls_loss", "set_l1_loss"],
}
EMPTY = {"cls": torch.zeros(0, 1), "bboxes": torch.zeros(0, 4), "batch_idx": torch.zeros(0)}


def changed_maps(method, model, batch):
    """Return what the head reads in the auxiliary pass, taken from the pass itself."""
    seen = []
    head = model.model[-1]
    hook = head.register_forward_pre_hook(lambda module, given: seen.append([level.detach() for level in given[0]]))
    step(model, method, batch)
    hook.remove()
    return seen[-1]


# Every family ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(COLUMNS))
def test_it_mounts_on_every_family_and_trains_all_of_it(name):
    model, batch = network(name), batch_of()
    method = mount(model)
    losses, _ = step(model, method, batch)
    assert list(losses) == COLUMNS[name]
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    rows = [row for row in model.model if any(True for _ in row.parameters())]
    for part in (rows[0], rows[-2], rows[-1], *model.student_extras["background_smoothing"].values()):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


@pytest.mark.parametrize("name", ["rtdetr-n.yaml", "yolo11n.yaml"])
@pytest.mark.parametrize("counts", [(0, 0), (0, 3)])
def test_images_without_boxes(name, counts):
    model = network(name)
    method = mount(model)
    losses, _ = step(model, method, batch_of(counts))
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["set_box_loss"].item() == 0 or any(counts)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_total_is_the_plain_loss_and_the_weighted_auxiliary_loss():
    batch = batch_of()
    plain, with_method = network(), network()
    mount(with_method, weight="0.5")
    totals = []
    for model in (plain, with_method):
        torch.manual_seed(0)
        totals.append(model(batch))
    own, items = totals[1][0].sum(), totals[1][1]
    for name, value in totals[0][1].items():
        assert items[name].item() == value.item(), name
    added = sum(items[name].item() for name in COLUMNS["so-detr-n-set.yaml"])
    assert own.item() - totals[0][0].sum().item() == pytest.approx(added, rel=1e-4)


@pytest.mark.parametrize("name", list(COLUMNS))
@pytest.mark.parametrize("ranks", [1, 2])
def test_lambda_is_the_same_on_any_number_of_processes(name, ranks, monkeypatch):
    """At lambda 0.5 on unchanged maps the auxiliary loss is half the model's own, whatever the ranks do to that."""
    monkeypatch.setattr("uavdet.nn.detector.gradient_scale", lambda: ranks)
    model, batch = freeze_statistics(network(name)), batch_of()
    model.model[-1].num_denoising = 0
    own = model(batch)[0].sum().item()
    mount(model, weight="0.5", smoothing=False, rho=0)
    assert model(batch)[0].sum().item() == pytest.approx(1.5 * own, rel=1e-4)


# Eq. 9 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", ["final", "matching", "all"])
@pytest.mark.parametrize("norm", ["image", "batch"])
def test_the_head_reads_smoothed_features_and_the_perturbation(terms, norm):
    """P^E by the blocks and the masks themselves; eps from the terms, by the names that the criterion gives them."""
    model, batch = network(), batch_of()
    method = mount(model, terms=terms, norm=norm, rho=0.7)
    given = changed_maps(method, model, batch)
    torch.manual_seed(0)
    model.plain_loss(batch, model.training_outputs(batch))
    suffixes = {"final": [""], "matching": ["", "_aux"], "all": ["", "_aux", "_dn", "_aux_dn"]}[terms]
    parts = [[model.loss_terms[f"loss_{kind}{s}"] for s in suffixes] for kind in ("class", "bbox", "giou")]
    maps = method._features.head_inputs
    eps = adversarial_perturbation([sum(part) for part in parts], maps, 0.7, norm)
    for place, level in enumerate(maps):
        shape = tuple(level.shape[2:])
        kept = foreground_cells(batch["bboxes"], batch["batch_idx"], len(batch["img"]), shape)
        smoothed = method._blocks[str(place)](level, kept)
        torch.testing.assert_close(given[place], smoothed.detach() + eps[place], rtol=1e-5, atol=1e-6)


def test_merged_branches_are_one():
    model, batch = network(), batch_of()
    given = changed_maps(mount(model, smoothing=False, branches="merged"), model, batch)
    torch.manual_seed(0)
    model.plain_loss(batch, model.training_outputs(batch))
    method = mount(model, smoothing=False)
    torch.manual_seed(0)
    model.plain_loss(batch, model.training_outputs(batch))
    maps = method._features.head_inputs
    total = sum(branch_losses(model, model.loss_terms, "matching").values())
    for level, seen, eps in zip(maps, given, adversarial_perturbation([total], maps), strict=True):
        torch.testing.assert_close(seen, (level + eps).detach(), rtol=1e-5, atol=1e-6)


def test_a_step_of_no_length_is_none():
    model, batch = network(), batch_of()
    method = mount(model, smoothing=False, rho=0)
    given = changed_maps(method, model, batch)
    assert all(torch.equal(seen, level) for seen, level in zip(given, method._features.head_inputs, strict=True))


def test_each_half_alone():
    model, batch = network(), batch_of()
    smoothing, perturbation = mount(model, perturbation=False), mount(model, smoothing=False)
    assert perturbation._blocks is None
    smoothed, perturbed = changed_maps(smoothing, model, batch), changed_maps(perturbation, model, batch)
    maps = perturbation._features.head_inputs
    for place, level in enumerate(maps):
        kept = foreground_cells(batch["bboxes"], batch["batch_idx"], 2, tuple(level.shape[2:])).expand_as(level)
        assert torch.equal(smoothed[place][kept], level.detach()[kept])
        assert not torch.equal(smoothed[place], level.detach())
        lengths = (perturbed[place] - level.detach()).square().sum((1, 2, 3)).sqrt()
        assert ((lengths > 0.1) & (lengths <= 0.5**0.5 + 1e-4)).all()  # a mean of three steps of that length


def test_ignored_regions_are_left_as_they_are():
    model = network()
    method = mount(model, perturbation=False)
    batch = with_region({**batch_of((1, 1)), **EMPTY}, 1, [0.0, 0.0, 0.5, 1.0])
    given = changed_maps(method, model, batch)
    for level, seen in zip(method._features.head_inputs, given, strict=True):
        ignored = ignored_cells(tuple(level.shape[2:]), regions_of_batch(batch)).expand_as(level)
        same = seen == level.detach()
        assert ignored[1].any()
        assert same[ignored].all()
        assert not same[0].all()


def test_marked_levels_alone_are_smoothed():
    model, batch = network("so-detr-n-set.yaml"), batch_of()
    model.yaml = copy.deepcopy(model.yaml)
    head = model.yaml["head"]
    rows = [row for row in head if row[2] == "HBS"]
    head[-1][0] = [rows[0][0], "hbs4", rows[2][0]]  # the head reads the other two levels directly
    model.yaml["head"] = [row for row in head if row[2] != "HBS" or row[4] == "hbs4"]
    method = mount(model, perturbation=False)
    assert list(method._blocks) == ["1"]
    given = changed_maps(method, model, batch)
    same = [torch.equal(a, b.detach()) for a, b in zip(given, method._features.head_inputs, strict=True)]
    assert same == [True, False, True]


def test_no_knowledge_of_objects_reaches_the_main_pass():
    """Other boxes, other auxiliary pass; the main pass says the same, in training and in evaluation."""
    model = network()
    model.model[-1].num_denoising = 0
    method, seen = mount(model), []
    first, second = batch_of((3, 2)), {**batch_of((5, 1), seed=9), "img": batch_of()["img"]}
    for batch in (first, second):
        outputs = model.training_outputs(batch)
        model.plain_loss(batch, outputs)
        seen.append((outputs, changed := method.losses(model, batch, outputs)))
    for a, b in zip(seen[0][0][:4], seen[1][0][:4], strict=True):
        assert torch.equal(a, b)
    assert changed["set_class_loss"] != seen[0][1]["set_class_loss"]
    model.eval()
    expected = network().eval()
    expected.load_state_dict({k: v for k, v in model.state_dict().items() if "student_extras" not in k})
    assert torch.equal(model(first["img"])[0], expected(first["img"])[0])


def test_the_mean_square_of_the_features():
    maps = [torch.full((2, 3, 4, 4), 2.0), torch.full((2, 1, 2, 2), 3.0)]
    assert mean_square(maps).item() == (4 + 9) / 2
    model, batch = network(), batch_of()
    method = mount(model, gamma="0.1")
    losses, _ = step(model, method, batch)
    assert list(losses)[-1] == "set_norm_loss"
    expected = sum(level.double().square().mean().item() for level in method._features.head_inputs) / 3
    assert losses["set_norm_loss"].item() == pytest.approx(0.1 * expected, rel=1e-5)


# When it acts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rtdetr-n.yaml", "yolo26n.yaml"])
def test_the_columns_are_the_same_in_every_step(name):
    model, batch = network(name), batch_of()
    method = mount(model, weight="1:constant:1:2", gamma="0.1:constant:2", epochs=3)
    columns = []
    for epoch in range(3):
        method.epoch_start(epoch, 3)
        losses, _ = step(model, method, batch)
        assert all(loss.requires_grad for loss in losses.values())
        assert [bool(loss > 0) for loss in losses.values()] == [epoch == 1] * 3 + [epoch == 2]
        columns.append(list(losses))
    nothing = method.losses(model, batch, None)
    assert all(loss == 0 for loss in nothing.values())
    assert columns[0] == columns[1] == columns[2] == list(nothing)


def test_the_perturbation_starts_later_and_smoothing_does_not():
    model, batch = network(), batch_of()
    model.model[-1].num_denoising = 0
    both, alone = mount(model, start_epoch=1, epochs=2), mount(model, start_epoch=1, smoothing=False, epochs=2)
    smoothing = mount(model, perturbation=False)
    smoothing._blocks.load_state_dict(both._blocks.state_dict())
    before, alike = (numbers(step(model, method, batch)[0]) for method in (both, smoothing))
    assert before == pytest.approx(alike)
    assert all(loss == 0 for loss in step(model, alone, batch)[0].values())
    for method in (both, alone):
        method.epoch_start(1, 2)
        assert step(model, method, batch)[0]["set_box_loss"] > 0


@pytest.mark.parametrize(
    ("batches", "iterations", "epochs", "first"),
    [(100, 0, 10, 0), (100, 100, 10, 1), (100, 101, 10, 2), (100, 2000, 200, 20), (8, 1, 1, 0), (8, 2, 2, 1)],
)
def test_by_default_it_starts_with_the_first_epoch_after_the_warm_up(batches, iterations, epochs, first):
    method = SpectralEnhancement(SpectralEnhancement.Args())
    method._trainer = type(
        "Trainer", (), {"train_loader": range(batches), "_get_warmup_iterations": lambda self, count: iterations}
    )()
    acting = []
    for epoch in range(epochs):
        method.epoch_start(epoch, epochs)
        acting.append(method.perturbing)
    assert acting.index(True) == first
    assert all(acting[first:])


def test_the_scale_of_half_precision_reaches_the_gradients_alone():
    model, batch = network(), batch_of()
    method = mount(model)
    plain, _ = step(model, method, batch)
    method._trainer.scaler = type("Scaler", (), {"get_scale": lambda self: 65536.0})()
    scaled, _ = step(model, method, batch)
    assert numbers(scaled) == numbers(plain)


@pytest.mark.parametrize("name", ["rtdetr-n.yaml", "yolo11n.yaml"])
def test_bfloat16_keeps_the_perturbation(name):
    """The head reads bfloat16, as in the main pass; what arrives is the perturbation, but for a small rest."""
    model, batch = network(name), batch_of()
    model.autocast_dtype = torch.bfloat16
    method, steps, read = mount(model, smoothing=False), [], []
    perturb = method._perturbation
    method._perturbation = lambda *given: steps.extend(perturb(*given)) or steps
    hook = model.model[-1].register_forward_pre_hook(lambda module, given: read.append(list(given[0])))
    total, items = model(batch)
    hook.remove()
    total.sum().backward()
    assert all(torch.isfinite(value) for value in items.values())
    assert all(level.dtype == torch.bfloat16 for maps in read for level in maps)
    changes = [(after - before).detach().float() for before, after in zip(*read, strict=True)]
    arrived = sum((change * eps).sum().item() for change, eps in zip(changes, steps, strict=True))
    assert arrived / sum(eps.square().sum().item() for eps in steps) == pytest.approx(1, abs=0.1)


def test_a_method_after_it_finds_the_terms_and_maps_of_the_main_pass():
    model, batch = network(), batch_of()
    method, seen = mount(model), []
    main = method._features
    model.auxiliary_losses.functions.append(
        lambda model, batch, outputs: seen.append((list(model.loss_terms), main.head_inputs[0])) or {}
    )
    model(batch)
    assert "loss_class_dn" in seen[0][0]  # the auxiliary pass has none
    assert seen[0][1] is main.head_inputs[0]
    assert model.loss_terms == {}


def test_copies_are_plain():
    model = network()
    plain = set(network().state_dict())
    mount(model)
    copied = copy.deepcopy(model)
    assert set(copied.state_dict()) == plain < set(model.state_dict())
    assert copied.auxiliary_losses.functions == []
    assert isinstance(copied.student_extras, StudentExtras)
    assert not len(copied.student_extras)


def test_the_blocks_have_the_number_of_parameters_of_the_paper_s_design():
    """P3 to P5 at 256 channels, r = 4: 295,232 + 819,520 + 819,520."""
    model = network("rtdetr-r18.yaml")
    method = mount(model)
    assert sum(p.numel() for p in method._blocks.parameters()) == 1_934_272


@pytest.mark.parametrize("start", [0, 1])
def test_a_frozen_neck_is_refused_in_the_first_step(start):
    model, batch = network(), batch_of()
    method = mount(model, start_epoch=start, epochs=2)
    for row in list(model.model)[:-1]:
        row.requires_grad_(False)
    with pytest.raises(UsageError, match=r"set\.perturbation=True has no gradient"):
        step(model, method, batch)


def test_perturbed_features_raise_the_losses():
    """Each branch alone, by its own step, on a detector with opinions."""
    model, batch = network(), batch_of()
    model.model[-1].num_denoising = 0
    method = mount(model, smoothing=False)
    _, terms = step(model, method, batch)
    maps = method._features.head_inputs
    for branch, loss in branch_losses(model, terms, "matching").items():
        eps = adversarial_perturbation([loss], maps, 0.02)
        with torch.no_grad():
            changed = [level + change for level, change in zip(maps, eps, strict=True)]
            after = branch_losses(model, auxiliary_terms(model, method._features, changed, batch), "matching")
        assert after[branch] > loss, branch
