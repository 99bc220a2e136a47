"""`uavdet analyze pca`: components against numpy's SVD, what is shown of them, and the files."""

import csv
import json

import numpy as np
import pytest
import torch

from tests.analysis.annotated import write_images
from tests.analysis.detectors import write_detector
from tests.analysis.test_windows import sample_of
from uavdet.analysis.pca import analyze_level, analyze_pca, fit_components, scale_components
from uavdet.analysis.samples import open_samples
from uavdet.cli import main


def maps_of(seed, shapes, channels=5):
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(channels, channels)) + 2
    return [np.tensordot(mixing, random.normal(size=(channels, *shape)), 1).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("shapes", [[(4, 6)], [(4, 6), (3, 3), (1, 2)]])
def test_components_are_those_of_the_singular_value_decomposition(shapes):
    maps = maps_of(0, shapes)
    found = fit_components(maps, [np.ones(shape, bool) for shape in shapes])
    cells = np.concatenate([part.reshape(5, -1) for part in maps], 1).T.astype(np.float64)
    _, singular, directions = np.linalg.svd(cells - cells.mean(0), full_matrices=False)
    np.testing.assert_allclose(found.mean, cells.mean(0))
    np.testing.assert_allclose(found.variances, singular**2 / (len(cells) - 1), rtol=1e-9)
    np.testing.assert_allclose(found.shares, singular**2 / (singular**2).sum(), rtol=1e-9)
    np.testing.assert_allclose(np.abs((found.directions * directions).sum(1)), 1, rtol=1e-9)
    largest = found.directions[np.arange(5), np.abs(found.directions).argmax(1)]
    assert (largest > 0).all()
    expected = (cells - cells.mean(0)) @ found.directions[:3].T
    projected = np.concatenate([found.project(part).reshape(3, -1) for part in maps], 1)
    np.testing.assert_allclose(projected, expected.T, atol=1e-5)


def test_cells_that_take_no_part_change_nothing():
    (maps,) = maps_of(1, [(4, 6)])
    used = np.ones((4, 6), bool)
    used[:, 4:] = False
    spoilt = maps.copy()
    spoilt[:, :, 4:] = 1e3
    a, b = (fit_components([part], [used]) for part in (maps, spoilt))
    np.testing.assert_array_equal(a.directions, b.directions)
    np.testing.assert_allclose(fit_components([maps[:, :, :4]], [used[:, :4]]).variances, a.variances)


@pytest.mark.parametrize("shape", [(3, 4), (1, 1)])
def test_maps_of_one_value_have_no_component(shape):
    maps = np.full((4, *shape), 7, np.float32)
    level = analyze_level("P3", 8, [maps], [sample_of([[0.5, 0.5, 0.1, 0.1]])])
    assert not level.components.shares.any()
    assert np.isnan(level.contrasts).all()
    (shown,) = scale_components(level.projected)
    assert not shown.any()


def test_fewer_channels_than_colours():
    maps = maps_of(2, [(4, 6)], channels=2)
    level = analyze_level("P3", 8, maps, [sample_of([[0.5, 0.5, 0.1, 0.1]])])
    assert len(level.components.variances) == 2
    assert level.projected[0].shape == (3, 4, 6)
    assert not level.projected[0][2].any()
    assert np.isnan(level.contrasts[2])


def test_contrast_is_in_standard_deviations_and_leaves_regions_out():
    """The channel that varies is 1 in the object's two cells, 9 in the two ignored ones, and 0 in the other twelve."""
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 1, :2], maps[0, 3, 2:] = 1, 9
    sample = sample_of([[0.25, 0.375, 0.4, 0.2]], [[0.5, 0.75, 1.0, 1.0]])
    level = analyze_level("P3", 8, [maps], [sample])
    values = np.array([1.0] * 2 + [9.0] * 2 + [0.0] * 12)
    assert level.contrasts[0] == pytest.approx(1 / values.std(ddof=1))


def test_colours_end_at_percentiles_over_all_images():
    projected = [np.arange(300.0).reshape(3, 10, 10), 300 + np.arange(150.0).reshape(3, 10, 5)]
    values = np.concatenate([part.reshape(3, -1) for part in projected], 1)
    low, high = np.percentile(values[1], [1, 99])
    shown = scale_components(projected)
    np.testing.assert_allclose(shown[1][1], np.clip((projected[1][1] - low) / (high - low), 0, 1))
    assert shown[0].min() == 0
    assert shown[1].max() == 1


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Return the file of a small untrained YOLO, whose images are padded."""
    return str(write_detector("yolo11n.yaml", tmp_path_factory.mktemp("detector") / "yolo.pt"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the YAML of six images."""
    rows = {name: [(0, 0.5, 0.5, 0.2, 0.2)] for name in "abcdef"}
    return str(write_images(tmp_path_factory.mktemp("data"), rows))


def test_the_table_and_the_figures(detector, data, tmp_path):
    options = {"model": detector, "data": data, "imgsz": 64, "project": str(tmp_path)}
    report = analyze_pca(options)
    assert len(report.images) == 4
    rows = list(csv.DictReader((report.folder / "pca.csv").open()))
    for name, level in zip(("P3", "P4", "P5"), report.levels, strict=True):
        mine = [row for row in rows if row["level"] == name]
        assert [int(row["component"]) for row in mine] == list(range(1, len(level.components.variances) + 1))
        assert sum(float(row["share"]) for row in mine) == pytest.approx(1, abs=1e-4)
        assert [bool(row["object_contrast"]) for row in mine[:4]] == [
            *[name != "P5"] * 3,
            False,
        ]  # all of P5's 2x2 cells
    files = {path.name for path in report.folder.iterdir()}
    assert files == {"pca.csv", "pca-P3.png", "pca-P4.png", "pca-P5.png"}
    assert "Principal components of the features of 4 images" in report.table()
    samples = open_samples({**options, "images": 4})
    cells = []
    for sample in samples:
        samples.model.predict(sample.image)
        cells.append(samples.recorder.head_inputs[0][0, :, 1:7].flatten(1).T.detach())  # 64x38.4 pixels of 64x64
    cells = torch.cat(cells).double()
    singular = torch.linalg.svdvals(cells - cells.mean(0))
    variances = report.levels[0].components.variances[: len(singular)]
    np.testing.assert_allclose(variances[:10], (singular**2 / (len(cells) - 1))[:10], rtol=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_the_command_takes_one_image_and_prints(detector, data, tmp_path, capsys):
    words = ["analyze", "pca", f"model={detector}", f"data={data}", "imgsz=64,128", "images=1", f"project={tmp_path}"]
    assert main([*words, "json=True"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["images"]) == 1
    assert len(report["levels"]["P5"]["explained"]) == 3
    assert main([*words, "conf=0.1"]) == 2
    assert "'conf' means nothing to analyze pca. It takes model, data, split" in capsys.readouterr().err
