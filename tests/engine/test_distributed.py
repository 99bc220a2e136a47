"""Two processes on the CPU: the same gradients as one process, and a real run through torchrun."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.batches import make_batch
from tests.conftest import TINY
from tests.two_processes import gradients, join_group, run_in_two, share_of
from uavdet.engine.distributed import wrap_model
from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.loading import load_model

ROOT = Path(__file__).resolve().parents[2]


def make_model():
    torch.manual_seed(0)
    model = build_model(load_model_config("rtdetr-n"), nc=2, queries=20)
    model.head.num_denoising = 0  # denoising draws random numbers, which differ by process
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval = module.train  # statistics of the batch would differ by process
            module.track_running_stats = False
            module.momentum = 0.0
    return model.train()


def freeze_norms(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.Module.train(module, False)


def work(rank, port, folder):
    join_group(rank, port)
    model = make_model()
    freeze_norms(model)
    wrapped = wrap_model(model, torch.device("cpu"), find_unused=False)
    total, items = wrapped(share_of(make_batch(COUNTS), rank))
    (total * 2).backward()  # the trainer multiplies by the number of ranks
    torch.save({"gradients": gradients(model), "items": {k: float(v) for k, v in items.items()}}, folder / f"{rank}.pt")
    dist.destroy_process_group()


COUNTS = (4, 3, 0, 0)  # the second process has no box


def test_two_processes_give_the_gradients_of_one(tmp_path):
    run_in_two(work, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    model = make_model()
    freeze_norms(model)
    total, _ = model(make_batch(COUNTS))
    total.backward()
    expected = gradients(model)
    assert first["gradients"].keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(first["gradients"][name], value, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(second["gradients"][name], value, rtol=1e-3, atol=1e-5)


@pytest.fixture
def half_empty_data(tiny_data, tmp_path):
    """Return a dataset of which half of the images have no box."""
    import shutil

    shutil.copytree(tiny_data.parent, tmp_path / "d")
    for file in sorted((tmp_path / "d" / "labels" / "train").glob("*.txt"))[::2]:
        file.write_text("")
    return tmp_path / "d" / "data.yaml"


def test_a_run_through_torchrun(half_empty_data, tmp_path):
    options = {**TINY, "data": half_empty_data, "epochs": 2, "project": tmp_path / "runs"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "uavdet",
        "train",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *(f"{key}={value}" for key, value in options.items())],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = list(csv.DictReader((tmp_path / "runs" / "train" / "results.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["train"]
    load_model(tmp_path / "runs" / "train" / "weights" / "best.pt")
