"""What the wheel carries, and where it is found."""

import zipfile
from pathlib import Path

import pytest

from uavdet import assets
from uavdet.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the unpacked wheel."""
    builders = pytest.importorskip("hatchling.builders.wheel")
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = builders.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.parametrize("folder", ["cfg/models", "cfg/recipes", "datasets"])
def test_the_wheel_and_the_checkout_hold_the_same_yamls(wheel, monkeypatch, folder):
    def contents():
        return {name: path.read_text() for name, path in assets.list_assets(folder).items()}

    checkout = {path.name: path.read_text() for path in (ROOT / folder).glob("*.yaml")}
    assert contents() == checkout
    monkeypatch.setattr(assets, "_PACKAGE", wheel / "uavdet")
    assert contents() == checkout
    assert assets.find_yaml(next(iter(checkout)), folder).parent == wheel / "uavdet" / folder


def test_the_wheel_holds_the_bundled_weights_and_their_card(wheel):
    weights = wheel / "uavdet" / "weights" / assets.DEMO_WEIGHTS.name
    assert weights.stat().st_size <= 10_000_000
    assert "CC BY 4.0" in weights.with_suffix(".md").read_text()


def test_the_wheel_holds_the_lists_of_importers(wheel):
    name = Path("uavdet", "export", "tensorrt_importers.json")
    assert (wheel / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_wheel_holds_the_package_alone(wheel):
    assert {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"} == {"uavdet"}
    assert not [path for path in wheel.rglob("*") if path.suffix in {".pyc", ".pt", ".onnx"}]


def test_a_name_that_is_not_shipped_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="so-detr-n"):
        assets.find_yaml("so-detr-m.yaml", "cfg/models")
