"""Finds the files that ship with the package: model and recipe YAMLs, dataset YAMLs, bundled weights.

A wheel carries `cfg/` and `datasets/` inside the package; a checkout keeps them beside it. Both are found alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uavdet.errors import ConfigError, one_line, suggest_name

_PACKAGE = Path(__file__).resolve().parent

DEFAULT_RECIPE = "rt-detr"
DEMO_WEIGHTS = _PACKAGE / "weights" / "so-detr-n-demo.safetensors"


def asset_folder(name: str) -> Path:
    """Return the folder `name` ('cfg/models', 'cfg/recipes' or 'datasets'), from the wheel or from the checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def list_assets(folder: str) -> dict[str, Path]:
    """Return the YAML files of an asset folder, keyed by file name."""
    return {path.name: path for path in sorted(asset_folder(folder).glob("*.yaml"))}


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        ConfigError: It cannot be read, or is no YAML.
    """
    import yaml

    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{file} is not readable YAML: {one_line(error)}.") from error


def find_weights(given: str) -> str:
    """Return the bundled weights where `given` is their name and no file of the user's, else `given`."""
    named = given in {DEMO_WEIGHTS.name, DEMO_WEIGHTS.stem}
    return str(DEMO_WEIGHTS) if named and not Path(given).exists() else given


def find_yaml(given: str | Path, folder: str) -> Path:
    """Resolve `given` to an existing YAML: a path first, then a file of the asset folder.

    Args:
        given: A path, or a bare name such as 'so-detr-n.yaml' or 'so-detr-n'.
        folder: The asset folder to search, as in `asset_folder`.

    Raises:
        ConfigError: Neither exists; the message names the nearest shipped file.
    """
    path = Path(given).expanduser()
    if path.is_file():
        return path.resolve()
    shipped = list_assets(folder)
    name = path.name if path.suffix in {".yaml", ".yml"} else f"{path.name}.yaml"
    if str(path) == path.name and name in shipped:
        return shipped[name]
    if str(path) != path.name or path.is_dir():
        raise ConfigError(_missing_path(path, given))
    raise ConfigError(
        f"'{given}' was not found.{suggest_name(name, shipped)} Give a path to a YAML file, "
        f"or one of those that ship: {', '.join(shipped) or 'none'}."
    )


def _missing_path(path: Path, given: str | Path) -> str:
    """Say what lies where a YAML was looked for."""
    folder = path if path.is_dir() else path.parent
    found = sorted(entry for entry in folder.glob("*") if entry.suffix in {".yaml", ".yml"}) if folder.is_dir() else []
    what = "is a folder" if path.is_dir() else "was not found"
    if not found:
        return f"'{given}' {what}. Give the path of a YAML file."
    near = suggest_name(path.name, [entry.name for entry in found]) if len(found) > 1 else ""
    listed = ", ".join(str(entry) for entry in found[:5])
    return f"'{given}' {what}.{near} Give the path of a YAML file; there is {listed}."
