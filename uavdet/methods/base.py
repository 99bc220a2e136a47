"""Training methods: what a paper adds to training, and nothing to the network that flies.

A method is a subclass of `TrainingMethod`; subclassing registers it under its `name`, and the fields of its `Args` are
its settings: `methods=name name.setting=value`. The trainer calls the hooks of all methods in turn and knows none of
them by name. Adding a paper is adding a folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from uavdet.errors import UsageError, suggest_name
from uavdet.methods.schedules import Schedule

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan
    from uavdet.engine.trainer import TrainerHooks
    from uavdet.methods.teacher import TeacherPool

_METHODS: dict[str, type[TrainingMethod]] = {}


class MethodArgs(BaseModel):
    """Settings of a method: typed, with defaults, unknown ones refused. The field descriptions are the help."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class TrainingMethod:
    """One training method of a run.

    Attributes:
        name: What `methods=` calls it.
        Args: Its settings.
        preliminary: Whether the running epoch only prepares the model. It is validated, but it is not taken for the
            best, and it does not count for stopping early.
    """

    preliminary: bool = False
    name: ClassVar[str] = ""
    Args: ClassVar[type[MethodArgs]] = MethodArgs

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.name or (cls.name in _METHODS and _METHODS[cls.name].__module__ != cls.__module__):
            raise TypeError(f"{cls.__name__} needs a name of its own; '{cls.name}' is empty or taken.")
        _METHODS[cls.name] = cls

    def __init__(self, args: MethodArgs) -> None:
        self.args = args

    def check(self, plan: TrainingPlan, teachers: TeacherPool) -> None:
        """Refuse settings that cannot work, before anything expensive starts.

        Args:
            plan: The resolved run.
            teachers: Its teachers; those that the method needs are loaded, and thereby checked, here.
        """

    def prepare(self, trainer: TrainerHooks) -> None:
        """Get ready, once the model stands on its device and before optimizer, EMA and DDP are made.

        Modules that train with the student and are gone after training are added here to `trainer.student_extras`;
        `trainer.teachers` gives teachers, `trainer.student_features()` the student's feature maps.
        """

    def losses(self, model: nn.Module, batch: Mapping[str, Any], outputs: Any) -> dict[str, Tensor]:
        """Return weighted losses to add to a training step, by the names of their columns in results.csv.

        The names are the same in every step, and end in `_loss`, by which the plots find them. A loss that does not act
        yet is a zero that depends on the outputs.

        Args:
            model: The student.
            batch: The batch, on the device; see `uavdet.nn.detector.targets_from_batch`.
            outputs: What the student's head returned for it.
        """
        return {}

    def epoch_start(self, epoch: int, epochs: int) -> None:
        """Learn that an epoch begins."""

    def strip(self, model: nn.Module) -> None:
        """Remove what the method left on the model, before the final weights are written."""


def available_methods() -> dict[str, type[TrainingMethod]]:
    """Return every training method by name; the packages of `uavdet.methods` are imported for it."""
    package = importlib.import_module("uavdet.methods")
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            importlib.import_module(f"uavdet.methods.{module.name}")
    return dict(_METHODS)


def build_methods(names: list[str], settings: Mapping[str, Any]) -> list[TrainingMethod]:
    """Return the methods of a run.

    Args:
        names: What `methods=` lists.
        settings: Dotted settings, `{'set.rho': 1, ...}`.

    Raises:
        UsageError: A method or a setting is unknown, a method is listed twice, or a value is not allowed.
    """
    known = available_methods() if names or settings else {}
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "none is installed"
            raise UsageError(f"Unknown method '{name}'.{suggest_name(name, known)} Known: {listed}.")
        if names.count(name) > 1:
            raise UsageError(f"methods={','.join(names)} lists {name} twice. Give it once.")
    for key in settings:
        if key.split(".", 1)[0] not in names:
            raise UsageError(f"'{key}' sets a method that is not switched on. Add methods={key.split('.', 1)[0]}.")
    return [known[name](_parse_settings(known[name], settings)) for name in names]


def check_schedules(method: TrainingMethod, epochs: int) -> None:
    """Refuse a weight that never acts.

    Args:
        method: A method of the run.
        epochs: Epochs of the run.

    Raises:
        UsageError: A schedule starts when the run is over.
    """
    for field, value in method.args:
        if isinstance(value, Schedule) and value.weight > 0 and value.start >= epochs:
            after = f"{value.start} epoch" if value.start == 1 else f"{value.start} epochs"
            raise UsageError(
                f"{method.name}.{field}={value} never acts: it starts after {after} and the run has "
                f"{epochs}. Give an earlier start, or more epochs."
            )


def _parse_settings(method: type[TrainingMethod], settings: Mapping[str, Any]) -> MethodArgs:
    prefix = f"{method.name}."
    given = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    for key in given:
        if key not in method.Args.model_fields:
            known = [prefix + field for field in method.Args.model_fields]
            listed = ", ".join(known) or "it has none"
            raise UsageError(f"Unknown key '{prefix}{key}'.{suggest_name(prefix + key, known)} Known: {listed}.")
    try:
        return method.Args(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = prefix + ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}={first['input']} is not allowed: {reason}.") from None
