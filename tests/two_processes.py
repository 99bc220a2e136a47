"""Runs a training step in two processes on the CPU, each with half of the images of a batch."""

import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_in_two(work, *arguments):
    """Run `work(rank, port, *arguments)` in two processes, and wait for both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(work, (port, *arguments), nprocs=2, start_method="spawn")


def join_group(rank, port):
    """Join the group of the two processes; `work` leaves it by `torch.distributed.destroy_process_group`."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)


def share_of(batch, rank):
    """Return the half of a batch of four images that a process gets."""
    own = batch["batch_idx"].long().div(2, rounding_mode="floor") == rank
    part = {key: batch[key][own] for key in ("cls", "bboxes")}
    return {**part, "img": batch["img"][2 * rank : 2 * rank + 2], "batch_idx": batch["batch_idx"][own] - 2 * rank}


def gradients(model):
    """Return the gradients of a model by the names of its parameters."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
