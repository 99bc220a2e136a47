"""Two processes on the CPU give the gradients of one, distillation included."""

import torch
import torch.distributed as dist

from tests.batches import make_batch
from tests.methods.detr_pairs import Mounting, build, freeze_statistics, save_teacher, scenes
from tests.two_processes import gradients, join_group, run_in_two, share_of
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


def work(rank, port, folder):
    join_group(rank, port)
    model = make_student(folder / "teacher-7-rtdetr-n.yaml.pt")
    wrapped = wrap_model(model, torch.device("cpu"), find_unused=True)
    total, _ = wrapped(share_of(make_batch(COUNTS), rank))
    (total * 2).backward()  # the trainer multiplies by the number of ranks
    torch.save(gradients(model), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    teacher = save_teacher(tmp_path, images=scenes(2, 64), queries=20)
    run_in_two(work, tmp_path)
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
