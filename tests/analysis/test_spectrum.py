"""`uavdet analyze spectrum`: its means against a calculation image by image, its files, and what it refuses."""

import csv
import json

import numpy as np
import pytest
import torch

from tests.analysis.annotated import write_images
from tests.analysis.detectors import write_detector
from tests.analysis.test_windows import spectra_by_numpy
from uavdet.analysis.samples import open_samples
from uavdet.analysis.spectrum import analyze_spectrum
from uavdet.cli import main

# sides in pixels of the 160x96 images: 4, 12 and 12, and one of the whole image
ROWS = {
    "a": [(0, 0.5, 0.5, 4 / 160, 4 / 96), (1, 0.3, 0.6, 12 / 160, 12 / 96)],
    "b": [(0, 0.999, 0.001, 12 / 160, 12 / 96)],
    "c": [(1, 0.5, 0.5, 1, 1)],
}


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Return the file of a small untrained detector."""
    return str(write_detector("rtdetr-n.yaml", tmp_path_factory.mktemp("detector") / "rtdetr.pt"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the YAML of three images."""
    rows = {"b": [(0, 0.93, 0.07, 12 / 160, 12 / 96)], **{name: ROWS[name] for name in "ac"}}
    return str(write_images(tmp_path_factory.mktemp("data"), rows))


@pytest.mark.usefixtures("undrawn")
def test_means_by_size_are_those_of_the_objects_one_by_one(detector, data, tmp_path):
    options = {"model": detector, "data": data, "imgsz": [64, 128], "project": str(tmp_path)}
    report = analyze_spectrum(options)
    assert report.counts == {"very tiny": 1, "tiny": 2, "small": 0, "medium": 0, "large": 1}
    samples, spectra = open_samples(options), {"very tiny": [], "tiny": [], "large": []}
    for sample in samples:
        samples.model.predict(sample.image)
        maps = samples.recorder.head_inputs[0][0].detach().numpy()
        padded = np.pad(maps, ((0, 0), (16, 16), (16, 16)), mode="symmetric")  # 8x16 cells, windows of 16
        for box, side in zip(sample.boxes.numpy(), sample.sides, strict=True):
            row, column = int(box[1] * 8), int(box[0] * 16)
            window = torch.from_numpy(padded[None, :, row + 8 : row + 24, column + 8 : column + 24])
            logs, energies = spectra_by_numpy(window)
            size = "very tiny" if side < 8 else "tiny" if side < 16 else "large"
            spectra[size].append(logs[0, energies[0].argmax()])
    level = report.levels[0]
    assert (level.name, level.stride, level.side) == ("P3", 8, 16)
    for size, expected in spectra.items():
        assert level.by_size[size].windows == len(expected)
        difference = np.abs(level.by_size[size].mean - np.mean(expected, 0))
        difference[8, 8] = 0
        assert difference.max() < 1e-3
    one, two = (value[8, 9:] for value in spectra["tiny"])
    profiles = np.concatenate(level.by_size["tiny"].profiles)
    assert profiles.shape == (2, 8)
    np.testing.assert_allclose(level.by_size["tiny"].profile, profiles.mean(0))
    assert not np.allclose(one, two)


@pytest.mark.usefixtures("undrawn")
def test_the_table_of_profiles(detector, data, tmp_path):
    report = analyze_spectrum({"model": detector, "data": data, "imgsz": 64, "project": str(tmp_path)})
    rows = list(csv.DictReader((report.folder / "spectrum.csv").open()))
    assert {row["level"] for row in rows} == {"P3", "P4", "P5"}
    tiny = [row for row in rows if (row["level"], row["size"]) == ("P3", "tiny")]
    assert [float(row["cycles_per_cell"]) for row in tiny] == [place / 16 for place in range(1, 9)]
    assert [float(row["cycles_per_pixel"]) for row in tiny] == [place / 128 for place in range(1, 9)]
    assert {row["objects"] for row in tiny} == {"2"}
    profile = report.levels[0].by_size["tiny"].profile
    np.testing.assert_allclose([float(row["log10_amplitude"]) for row in tiny], profile, rtol=1e-5)
    assert report.table().startswith("4 objects of 3 images. Log10 amplitude")
    assert "Levels without a window that is free of objects" in report.table()  # P5 has 2x2 cells


def test_the_command_draws_and_prints(detector, data, tmp_path, capsys):
    words = ["analyze", "spectrum", f"model={detector}", f"data={data}", "imgsz=128", "channel=mean", "images=1"]
    assert main([*words, f"project={tmp_path}", "json=True"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["channel"]) == (1, "mean")
    assert report["objects"]["tiny"] == 1
    assert {path.name for path in (tmp_path / "spectrum").iterdir()} == {"spectrum.csv", "spectrum.png"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["channel=loudest"], 2, "channel=loudest"),
        (["thumbnail=4"], 2, "'thumbnail' means nothing to analyze spectrum"),
        (["source=."], 2, "'source' means nothing to analyze spectrum"),
        (["images=0"], 2, "images"),
        (["model=gone.pt"], 4, "'gone.pt' does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(detector, data, words, code, message, capsys, tmp_path):
    given = [f"model={detector}", f"data={data}", "imgsz=64", f"project={tmp_path}"]
    kept = [word for word in given if word.partition("=")[0] not in {w.partition("=")[0] for w in words}]
    assert main(["analyze", "spectrum", *kept, *words]) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]
    assert list(tmp_path.iterdir()) == []
