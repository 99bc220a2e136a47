"""Keeps Ultralytics offline, quiet and apart from the user's own settings. Import this before Ultralytics.

On its own Ultralytics resolves host names at import, sends usage statistics, installs missing packages, downloads
fonts and limits PyTorch to all processors but one. Importing this module

* gives it a settings folder of its own (`YOLO_CONFIG_DIR`, unless the user has set one) with synchronisation and every
  logger off;
* switches network look-ups, statistics and installation off for this process;
* puts the fonts that its plots want into that folder, from matplotlib;
* lets the CPU trainer use every processor, or `OMP_NUM_THREADS` of them where that is set.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from uavdet.errors import MissingDependencyError

_LOGGERS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
_MESSAGES = ("vscode_msg", "openvino_msg")
_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")


def processors() -> int:
    """Return how many threads the CPU may use: `OMP_NUM_THREADS` where the user set it, else every processor."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else os.cpu_count() or 1


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _prepare() -> None:
    for package in ("torch", "ultralytics"):
        if not _installed(package):
            raise MissingDependencyError(f"{package} is not installed. It comes with: pip install 'uavdet[train]'.")
    threads, user_threads = processors(), os.environ.get("OMP_NUM_THREADS")
    config = Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser() / "uavdet"
    os.environ.setdefault("YOLO_CONFIG_DIR", str(config))
    os.environ.setdefault("YOLO_OFFLINE", "1")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    verbose = os.environ.get("YOLO_VERBOSE")
    os.environ["YOLO_VERBOSE"] = "false"  # its first import announces the settings file on standard output

    import torch
    import ultralytics.utils.torch_utils as torch_utils
    from ultralytics.utils import LOGGER, RANK, SETTINGS, USER_CONFIG_DIR, events

    _restore("YOLO_VERBOSE", verbose)
    _restore("OMP_NUM_THREADS", user_threads)  # Ultralytics sets it to 1, which child processes would inherit
    if (verbose or "true").lower() == "true" and RANK in {-1, 0}:
        LOGGER.setLevel("INFO")
        for handler in LOGGER.handlers:
            handler.setLevel("INFO")
    dict.update(SETTINGS, {"sync": False, **{key: False for key in (*_LOGGERS, *_MESSAGES) if key in SETTINGS}})
    events.events.enabled = False
    torch_utils.NUM_THREADS = threads
    torch.set_num_threads(threads)
    _provide_fonts(Path(USER_CONFIG_DIR))


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _provide_fonts(folder: Path) -> None:
    """Copy matplotlib's DejaVu Sans to the names that Ultralytics' plots would download."""
    missing = [font for font in _FONTS if not (folder / font).exists()]
    if missing:
        import matplotlib

        source = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        for font in missing:
            try:
                shutil.copyfile(source, folder / font)
            except OSError:
                return  # a read-only folder: plots then use Pillow's built-in font


def enable_loggers(names: list[str]) -> None:
    """Switch on loggers of Ultralytics for this process, by name.

    Raises:
        ValueError: A name is unknown, or its package is not installed.
    """
    from ultralytics.utils import SETTINGS

    for name in names:
        if name not in _LOGGERS:
            raise ValueError(f"Unknown logger '{name}'. Known: {', '.join(_LOGGERS)}.")
        package = {"comet": "comet_ml", "raytune": "ray", "dvc": "dvclive"}.get(name, name)
        if not _installed(package):
            raise ValueError(f"loggers={name} needs the package '{package}'. Install it with: pip install {package}.")
        dict.update(SETTINGS, {name: True})


_prepare()
