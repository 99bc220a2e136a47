"""Distributed training: started by torchrun, on GPUs (NCCL) or CPUs (gloo).

`torchrun --nproc_per_node 2 -m uavdet train ...` is the general form, several nodes included; `device=0,1` starts it
for the GPUs of this machine.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

_TIMEOUT = timedelta(hours=3)


def world_size() -> int:
    """Return the number of processes that torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def start_process_group(device: torch.device, devices: str = "") -> torch.device:
    """Join the other processes and return this one's device.

    Args:
        device: A device of the kind to use.
        devices: The GPUs of this machine to use, `'2,3'`; by default the first ones.
    """
    if device.type == "cuda":
        rank, numbers = int(os.environ["LOCAL_RANK"]), devices.split(",")
        device = torch.device("cuda", int(numbers[rank]) if len(numbers) > 1 else rank)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    return device


def wrap_model(model: nn.Module, device: torch.device, *, find_unused: bool) -> nn.Module:
    """Return the model under DistributedDataParallel.

    Args:
        model: The model, on `device`. Every rank takes rank 0's weights.
        device: This process's device.
        find_unused: Look for parameters that a step does not use. Our own models use every parameter in every step,
            also without a box; training methods and stock models may not.
    """
    # Batch statistics stay each rank's own, as in Ultralytics; rank 0's are saved. PyTorch renames the switch.
    known = inspect.signature(nn.parallel.DistributedDataParallel.__init__).parameters
    switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    settings: dict[str, Any] = {switch: False, "find_unused_parameters": find_unused}
    if device.type == "cuda":
        settings["device_ids"] = [device.index]
    return nn.parallel.DistributedDataParallel(model, **settings)


def share(value: str) -> str:
    """Return rank 0's value on every rank."""
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def launch_workers(processes: int, arguments_file: Path) -> None:
    """Run a training in several processes of this machine and wait for it.

    Args:
        processes: How many.
        arguments_file: The run's arguments as YAML.

    Raises:
        subprocess.CalledProcessError: A process failed.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    subprocess.run([*command, "-m", "uavdet.engine.worker", str(arguments_file)], check=True)
