"""Two processes on the CPU, one without a box, give the gradients of one."""

import pytest
import torch
import torch.distributed as dist

from tests.methods.detr_pairs import freeze_statistics
from tests.methods.spectral_enhancement.mounted import batch_of, mount, network
from tests.two_processes import gradients, join_group, run_in_two, share_of
from uavdet.engine.distributed import wrap_model

COUNTS = (4, 3, 0, 0)  # the second process has no box


def student():
    model = freeze_statistics(network())
    torch.manual_seed(0)  # of the blocks
    model.model[-1].num_denoising = 0  # denoising draws random numbers, which differ by process
    mount(model, gamma="0.1")
    return model


def work(rank, port, folder):
    join_group(rank, port)
    wrapped = wrap_model(student(), torch.device("cpu"), find_unused=True)
    total, items = wrapped(share_of(batch_of(COUNTS), rank))
    (total * 2).backward()  # the trainer multiplies by the number of ranks
    torch.save((gradients(wrapped.module), items), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    """Each image has a perturbation of its own length, so that it does not matter which process has it."""
    run_in_two(work, tmp_path)
    model = student()
    total, items = model(batch_of(COUNTS))
    total.backward()
    expected = gradients(model)
    assert "student_extras.background_smoothing.2.reduce.weight" in expected
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert shares[1][1]["set_box_loss"] == 0 < shares[0][1]["set_box_loss"]
    for name in ("set_class_loss", "set_l1_loss", "set_box_loss"):
        mean = (shares[0][1][name] + shares[1][1][name]).item() / 2
        assert mean == pytest.approx(items[name].item(), rel=1e-4)
    for given, _ in shares:
        assert given.keys() == expected.keys()
        for name, value in expected.items():
            # Of the whole tensor: large gradients of several losses cancel in some values, to rounding's size.
            assert (given[name] - value).norm() <= 3e-4 * value.norm() + 1e-6, name
