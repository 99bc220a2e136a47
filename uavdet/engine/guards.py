"""What a training does when it cannot go on: it says why, what to try, and what is kept."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from ultralytics.utils.torch_utils import unwrap_model

from uavdet.nn.thumbnail import input_stride


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory was not enough, on any device."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in ("out of memory", "can't allocate"))


def memory_advice(trainer: Any) -> str:
    """Return what helps against lack of memory, in one line."""
    options, stride = trainer.plan.options, input_stride(trainer.plan.config)
    advice = [
        f"batch={max(1, int(trainer.batch_size) // 2)}",
        f"imgsz={max(2 * stride, trainer.args.imgsz * 3 // 4 // stride * stride)}",
    ]
    if trainer.plan.precision == "fp32":
        advice.append("amp=auto")
    if (options.get("queries") or 0) > 300:
        advice.append("queries=300")
    kept = f" The epochs so far continue with resume={trainer.last}." if trainer.last.exists() else ""
    return (
        f"Out of memory with batch={trainer.batch_size}, imgsz={trainer.args.imgsz} on {trainer.device}. "
        f"Try {' or '.join(advice)}.{kept}"
    )


def divergence_report(trainer: Any) -> str:
    """Write what is known of a loss that is not finite to divergence.json, and return it in one line."""
    model = unwrap_model(trainer.model)
    bad_items = [name for name, value in trainer.loss_items.items() if not _finite(value)]
    bad_weights = [name for name, value in model.state_dict().items() if not _finite(value)]
    bad_gradients = [name for name, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)]
    report = {
        "epoch": trainer.epoch + 1,
        "loss_items": {name: float(value) for name, value in trainer.loss_items.items()},
        "learning_rates": [group["lr"] for group in trainer.optimizer.param_groups],
        "weights_not_finite": bad_weights,
        "gradients_not_finite": bad_gradients,
    }
    file = trainer.save_dir / "divergence.json"
    file.write_text(json.dumps(report, indent=2), encoding="utf-8")
    first = (bad_items or bad_weights or bad_gradients or ["the total loss"])[0]
    kept = f"The last good checkpoint is {trainer.last}." if trainer.last.exists() else "No checkpoint was written yet."
    return (
        f"Training stopped in epoch {trainer.epoch + 1}: {first} is not finite ({len(bad_weights)} weights and "
        f"{len(bad_gradients)} gradients are not either; see {file}). {kept} "
        f"Try lr0={trainer.args.lr0 / 2:g}, amp=fp32, or look at the images of that batch."
    )


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
