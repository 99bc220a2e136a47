"""`uavdet analyze thumbnail`: its moments, its pictures, and what it refuses."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from uavdet.analysis.thumbnail import analyze_thumbnail, draw_panels, find_images, measure, thumbnails
from uavdet.cli import main
from uavdet.errors import DataError
from uavdet.model import UAVDet
from uavdet.nn.thumbnail import AreaThumbnail, Thumbnail


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder of two pictures and a text."""
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(("b.png", "a.jpg")):
        coarse = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC))
    (folder / "c.txt").write_text("no image")
    return folder


def analyse(images, folder, **options):
    given = {"model": "so-detr-n-thumb4.yaml", "imgsz": 256, "source": str(images), "project": str(folder)}
    return analyze_thumbnail({**given, **options})


def test_the_table_holds_the_moments_of_every_channel(images, tmp_path):
    report = analyse(images, tmp_path)
    rows = list(csv.DictReader((report.folder / "moments.csv").open()))
    assert [row["version"] for row in rows[::3]] == ["image", "area", "bicubic", "untrained"] * 2
    pixels = cv2.resize(cv2.imread(str(images / "a.jpg")), (256, 256), interpolation=cv2.INTER_LINEAR) / 255
    for row, channel in zip(rows[:3], (2, 1, 0), strict=True):
        assert float(row["mean"]) == pytest.approx(pixels[..., channel].mean(), abs=2e-6)
        assert float(row["variance"]) == pytest.approx(pixels[..., channel].var(ddof=1), abs=2e-6)
    cells = pixels.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert float(rows[3]["variance"]) == pytest.approx(cells[..., 2].var(ddof=1), abs=2e-6)


def test_differences_are_shares_of_the_image_s_moments(images, tmp_path):
    report = analyse(images, tmp_path)
    image, area = ([row for row in report.rows if row.version == version] for version in ("image", "area"))
    expected = np.mean([abs(a.variance - b.variance) / b.variance for a, b in zip(area, image, strict=True)])
    assert report.differences()["area"]["variance"] == pytest.approx(expected)
    assert report.differences()["area"]["mean"] < 1e-5
    assert "2 images of 256x256 as thumbnails of 64x64" in report.table()


def test_pictures_show_every_version_side_by_side(tmp_path):
    image = torch.rand(1, 3, 64, 128)
    draw_panels(tmp_path / "x.png", thumbnails(image, Thumbnail(3, 2)))
    picture = cv2.imread(str(tmp_path / "x.png"))
    width, height = 640, 320
    assert picture.shape == (30 + height + 6 + height, 4 * width + 3 * 6, 3)
    for column in range(4):
        left = column * (width + 6)
        panel = picture[30 : 30 + height, left : left + width]
        expected = image if column == 0 else AreaThumbnail(2)(image)
        small = cv2.resize(panel, expected.shape[:1:-1], interpolation=cv2.INTER_AREA)[..., ::-1] / 255
        assert np.abs(small - expected[0].permute(1, 2, 0).numpy()).mean() < (0.08 if column == 2 else 0.004)


def test_a_plain_resize_is_shown_once():
    assert list(thumbnails(torch.rand(1, 3, 32, 32), AreaThumbnail(2))) == ["image", "area", "bicubic"]


def test_a_stem_with_weights_is_called_learned(images, tmp_path):
    weights = tmp_path / "w.safetensors"
    UAVDet("so-detr-n-thumb4.yaml").export(format="safetensors", out=str(weights))
    report = analyse(images, tmp_path, model=str(weights))
    assert report.differences().keys() == {"area", "bicubic", "learned"}
    report = analyse(images, tmp_path, thumbnail=2, model="so-detr-n-demo")  # put before trained weights
    assert report.differences().keys() == {"area", "bicubic", "untrained"}


def test_moments_of_one_colour():
    rows = measure("x", {"image": torch.full((1, 3, 4, 4), 0.25)})
    assert [(row.channel, row.mean, row.variance) for row in rows] == [
        ("R", 0.25, 0.0),
        ("G", 0.25, 0.0),
        ("B", 0.25, 0.0),
    ]


def test_sources_are_images_folders_and_globs(images):
    assert [file.name for file in find_images(str(images))] == ["a.jpg", "b.png"]
    assert [file.name for file in find_images(str(images / "b.png"))] == ["b.png"]
    assert [file.name for file in find_images(f"{images}/*.jpg")] == ["a.jpg"]
    with pytest.raises(DataError, match="holds no image"):
        find_images(str(images / "c.txt"))


def test_the_command_writes_a_folder_and_prints_json(images, tmp_path, capsys):
    words = ["analyze", "thumbnail", "model=so-detr-n.yaml", "thumbnail=2", "imgsz=128", f"source={images}", "images=1"]
    assert main([*words, f"project={tmp_path}", "json=True"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 1
    assert report["factor"] == 2
    assert report["differences"].keys() == {"area", "bicubic", "untrained"}
    assert {path.name for path in (tmp_path / "thumbnail").iterdir()} == {"000-a.png", "moments.csv"}
    assert main([*words, "--project", str(tmp_path)]) == 0
    assert "1 images of 128x128 as thumbnails of 64x64" in capsys.readouterr().out
    assert (tmp_path / "thumbnail2").is_dir()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "No analysis was named. Known: bands, spectrum"),
        (["thumbnial"], 2, "Did you mean 'thumbnail'"),
        (["thumbnail", "source=."], 2, "model=so-detr-n-demo has no thumbnail. Add thumbnail=4 or 2"),
        (["thumbnail", "model=so-detr-n.yaml", "source=."], 2, "has no thumbnail. Add thumbnail=4 or 2"),
        (["thumbnail", "model=so-detr-n-thumb4.yaml"], 2, "No source was given"),
        (["thumbnail", "model=so-detr-n-thumb4.yaml", "source=gone"], 3, "source=gone holds no image"),
        (["thumbnail", "model=so-detr-n-thumb4.yaml", "imgsz=800"], 2, "The nearest are imgsz=768 and imgsz=896"),
        (["thumbnail", "model=so-detr-n.yaml", "thumbnail=3"], 2, "thumbnail=3 is not allowed. It is 2 or 4"),
        (["thumbnail", "model=yolo11n.yaml"], 2, "stock model"),
        (["thumbnail", "model=gone.pt"], 4, "'gone.pt' does not exist"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_one_line(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", *words]) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]


def test_an_image_that_cannot_be_read_is_named(images, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        analyse(tmp_path, tmp_path)
