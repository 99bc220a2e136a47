"""Two processes on the CPU give the gradients of one, distillation included."""

import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.methods.detr_pairs import Mounting, build, freeze_statistics, save_teacher, scenes
from tests.nn.test_detector import make_batch
from uavdet.engine.distributed import wrap_model
from uavdet.methods.kd_detr import KDDETR
from uavdet.methods.so_detr import SODETRDistillation

COUNTS = (4, 3, 0, 0)  # the second process has no box


def make_student(teacher):
    model = freeze_statistics(build(queries=20))
    model.model[-1].num_denoising = 0  # denoising draws random numbers, which differ by process
    trainer = Mounting(model)
    for method in (SODETRDistillation, KDDETR):
        ready = method(method.Args(teacher=str(teacher)))
        ready.prepare(trainer)
        model.auxiliary_losses.functions.append(ready.losses)
    model.student_extras = trainer.student_extras
    return model


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def work(rank, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model = make_student(folder / "teacher-7-rtdetr-n.yaml.pt")
    wrapped = wrap_model(model, torch.device("cpu"), find_unused=True)
    whole = make_batch(COUNTS)
    own = whole["batch_idx"].long().div(2, rounding_mode="floor") == rank
    part = {key: whole[key][own] for key in ("cls", "bboxes")}
    part |= {"img": whole["img"][2 * rank : 2 * rank + 2], "batch_idx": whole["batch_idx"][own] - 2 * rank}
    total, _ = wrapped(part)
    (total * 2).backward()  # the trainer multiplies by the number of ranks
    torch.save(gradients(model), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    teacher = save_teacher(tmp_path, images=scenes(2, 64), queries=20)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(work, (port, tmp_path), nprocs=2, start_method="spawn")
    model = make_student(teacher)
    total, items = model(make_batch(COUNTS))
    total.backward()
    assert items["so_detr_kd_l1_loss"] > 0
    assert items["kd_detr_l1_loss"] > 0
    expected = gradients(model)
    assert "student_extras.kd_detr_projector.weight" in expected
    for rank in (0, 1):
        given = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert given.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(given[name], value, rtol=1e-3, atol=1e-4)
