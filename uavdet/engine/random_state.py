"""The state of every random generator as tensors, so that a resumed run goes on exactly where it stopped."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

RandomState = dict[str, Any]


def capture_random_state() -> RandomState:
    """Return the state of Python's, NumPy's and PyTorch's generators, all devices included."""
    version, internal, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 (Ultralytics draws from it)
    state: RandomState = {
        "python": torch.tensor([version, *internal], dtype=torch.int64),
        "python_gauss": gauss,
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_scalars": [int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: RandomState) -> None:
    """Set the generators to a captured state; GPU states are set for as many devices as exist here."""
    version, *internal = state["python"].tolist()
    random.setstate((version, tuple(internal), state["python_gauss"]))
    position, has_gauss, cached = state["numpy_scalars"]
    keys = state["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    states: list[Tensor] = state.get("cuda", [])
    for device, generator in enumerate(states[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)


def seed_epoch(loader: Any, seed: int, epoch: int) -> None:
    """Make the order of an epoch depend on the run's seed and the epoch alone, not on what was drawn before.

    A loader in its own process starts the epoch with a new iterator. Worker processes keep theirs, which has loaded
    ahead: with them a resumed run sees other batches than one that was never stopped.
    """
    if loader.num_workers == 0:
        loader.iterator = None
    loader.generator.manual_seed((seed + 1) * 1_000_003 + epoch)


def mosaic_pool(loader: Any) -> list[int]:
    """Return the images that mosaic draws from: those loaded last."""
    return [int(index) for index in loader.dataset.buffer]


def refill_mosaic_pool(loader: Any, pool: list[int]) -> None:
    """Load the images that mosaic drew from when the run was stopped."""
    for index in pool:
        loader.dataset.load_image(index, rect_mode=False)
