"""Losses between two networks' class logits, where the teacher's probabilities are the targets.

Classes are independent yes-or-no questions in every detector here, so the distance is a sum of Bernoulli divergences.
All is computed in float32 from the logits, and finite for logits of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from uavdet.errors import UsageError

Form = Literal["bernoulli", "softmax"]
"""What the probabilities of classes are taken for: answers to questions of their own, or one distribution."""


def confidence(logits: Tensor) -> Tensor:
    """Return how sure a network is of its queries: the highest class probability of each.

    Args:
        logits: (..., C).

    Returns:
        (...) in float32.
    """
    return logits.float().sigmoid().amax(-1)


def bernoulli_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher || student) of every class on its own, at least 0, and 0 where the logits are equal.

    Its gradient is that of the binary cross-entropy on the teacher's probabilities; only the teacher's entropy, which
    no student can change, is taken off.

    Args:
        student: (...) logits.
        teacher: (...) logits.
        temperature: Divides the logits of both.

    Returns:
        (...) in float32, in nats, not multiplied by the square of the temperature.
    """
    student, teacher = student.float() / temperature, teacher.float() / temperature
    return teacher.sigmoid() * (teacher - student) + F.softplus(student) - F.softplus(teacher)


def bernoulli_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the binary cross-entropy on the teacher's probabilities; its floor is the teacher's entropy.

    Args:
        student: (...) logits.
        teacher: (...) logits.

    Returns:
        (...) in float32, in nats.
    """
    return F.binary_cross_entropy_with_logits(student.float(), teacher.float().sigmoid(), reduction="none")


def softmax_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher || student) between softmax distributions, each class's share of it; for a single class 0.

    The usual form of distillation in classification. A detector's classes are trained as independent questions, and
    softmax ignores what all logits of a query have in common: whether there is an object at all.

    Args:
        student: (..., C) logits.
        teacher: (..., C) logits.
        temperature: Divides the logits of both.

    Returns:
        (..., C) in float32, in nats, which sum to the divergence.
    """
    student, teacher = student.float() / temperature, teacher.float() / temperature
    return teacher.softmax(-1) * (teacher.log_softmax(-1) - student.log_softmax(-1))


DIVERGENCES = {"bernoulli": bernoulli_divergence, "softmax": softmax_divergence}
"""The divergence of each form."""


def check_form(setting: str, form: Form, names: Mapping[int, str]) -> None:
    """Refuse a softmax over a single class, which is 1 whatever the logits are.

    Args:
        setting: Name of the setting that gives the form, for the message.
        form: Its value.
        names: The student's classes.

    Raises:
        UsageError: As above.
    """
    if form == "softmax" and len(names) == 1:
        raise UsageError(f"{setting}=softmax says nothing about a single class. Give {setting}=bernoulli.")
