"""Random states as tensors."""

import io
import random

import numpy as np
import torch

from uavdet.engine.random_state import capture_random_state, restore_random_state


def draw():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()


def test_a_restored_state_draws_the_same_numbers():
    draw()
    state = capture_random_state()
    expected = [draw() for _ in range(3)]
    stored = io.BytesIO()
    torch.save(state, stored)
    stored.seek(0)
    restore_random_state(torch.load(stored, weights_only=True))
    assert [draw() for _ in range(3)] == expected
