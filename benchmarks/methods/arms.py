"""What benchmarks/methods trains: the arms of each table."""

from __future__ import annotations

from dataclasses import dataclass, replace

SIDE = 320
"""Side of the input of a trunk, in pixels."""

STARTS = ("so-detr-n", "rtdetr-n", "so-detr-n-ddf", "yolo26n", "rtdetr-l")
"""Networks that are pre-trained, each on the same synthetic scenes."""

TEACHER = "so-detr-n-demo"
"""The bundled weights: the student's network, trained for longer, at twice its size and on the same images."""
TEACHER_SIDE = 640

LONG = 24
"""Epochs of an arm that trains for longer than the others."""

AMPLIFIER = "AMPLIFIER"
"""Stands in options for the checkpoint of the teacher's high-frequency amplifier, which is trained where it is used."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: Of its runs, in tables and folders.
        model: Name of a model of the package, or `so-detr-n-ddf`, so-detr-n with DDF in the place of EquivariantDDF.
        start: Pre-trained network that it starts from, one of `STARTS`, or `TEACHER`.
        expansion: Ratio of the expanded IoU; None leaves that of the YAML, 1.25.
        options: Arguments of `uavdet train` over those of the recipe.
        imgsz: Side of the input in pixels.
        recipe: File beside this one; None for a model of Ultralytics, which trains by its own defaults.
        epochs: Passes over the training images; None for as many as all arms have, 0 to score what it starts from.
    """

    name: str
    model: str = "so-detr-n"
    start: str = "so-detr-n"
    expansion: float | str | None = None
    options: tuple[str, ...] = ()
    imgsz: int = SIDE
    recipe: str | None = "recipe.yaml"
    epochs: int | None = None


@dataclass(frozen=True)
class Table:
    """Arms that are compared.

    Attributes:
        title: What the arms differ in.
        arms: The first is what the others are compared with. One that stands in several tables is trained once.
        page: Name of the table in whose page it stands, and which has all of its runs; None where it has its own.
    """

    title: str
    arms: tuple[Arm, ...]
    page: str | None = None


def _set(name: str, *options: str) -> Arm:
    return Arm(name, "so-detr-n-set", options=("methods=set", *options))


def _taught(name: str, methods: str, *options: str) -> Arm:
    return Arm(name, options=(f"methods={methods}", *_teacher(methods), *options))


def _set_and_taught(name: str, methods: str, *options: str) -> Arm:
    return Arm(name, "so-detr-n-set", options=(f"methods=set,{methods}", *_teacher(methods), *options))


def _teacher(methods: str) -> list[str]:
    return [
        setting
        for method in methods.split(",")
        for setting in (f"{method}.teacher={TEACHER}", f"{method}.imgsz={TEACHER_SIDE}")
    ]


def _thumbnail(name: str, factor: int, kind: str, *options: str) -> Arm:
    teacher = ("methods=thumbdet", f"thumbdet.teacher={TEACHER}") if kind == "learned" else ()
    return Arm(
        name,
        start=TEACHER,
        options=(f"thumbnail={factor}", f"thumbnail_kind={kind}", *teacher, *options),
        imgsz=TEACHER_SIDE,
    )


PLAIN = Arm("so-detr-n")
_WITH_SET = (
    _set_and_taught("HBS and SO-DETR, linear decay", "so-detr-kd", "set.perturbation=False"),
    _set_and_taught("HBS and KD-DETR", "kd-detr", "set.perturbation=False"),
    _set_and_taught("API and SO-DETR, linear decay", "so-detr-kd", "set.smoothing=False"),
)
_TWICE = (
    _thumbnail("learned, 2x, one stage", 2, "learned", "thumbdet.stage_epochs=0"),
    _thumbnail("learned, 2x, two stages", 2, "learned", "thumbdet.stage_epochs=2"),
    _thumbnail("area, 2x", 2, "area"),
    _thumbnail("bicubic, 2x", 2, "bicubic"),
)
_AMPLIFIED = f"ds2d2.amplifier={AMPLIFIER}"

TABLES = {
    "so-detr": Table(
        "Parts of SO-DETR",
        (
            Arm("rtdetr-n", "rtdetr-n", "rtdetr-n"),
            Arm("S2 and DDF", "so-detr-n-ddf", "so-detr-n-ddf", expansion=1),
            Arm("S2 and EquivariantDDF", expansion=1),
            PLAIN,
            Arm("expansion 1.5", expansion=1.5),
            Arm("expansion 2", expansion=2),
            Arm("expansion adaptive", expansion="adaptive"),
        ),
    ),
    "set": Table(
        "SET",
        (
            PLAIN,
            _set("HBS", "set.perturbation=False"),
            _set("API", "set.smoothing=False"),
            _set("HBS and API"),
        ),
    ),
    "set-strength": Table(
        "SET's rho and weight",
        (
            _set("HBS and API"),
            _set("HBS", "set.perturbation=False"),
            _set("HBS and API, rho 0.5", "set.rho=0.5"),
            _set("HBS and API, rho 2", "set.rho=2"),
            _set("HBS and API, rho 5", "set.rho=5"),
            _set("HBS and API, rho 10", "set.rho=10"),
            _set("HBS and API, weight 0.5", "set.weight=0.5"),
            _set("HBS and API, weight 2", "set.weight=2"),
        ),
    ),
    "distillation": Table(
        "Distillation",
        (
            PLAIN,
            _taught("SO-DETR, constant", "so-detr-kd", "so-detr-kd.weight=0.1:constant"),
            _taught("SO-DETR, linear decay", "so-detr-kd"),
            _taught("SO-DETR, constant 0.5", "so-detr-kd", "so-detr-kd.weight=0.5:constant"),
            _taught("DS2D2, explicit", "ds2d2", "ds2d2.full=0"),
            _taught("DS2D2, full", "ds2d2", "ds2d2.low=0", "ds2d2.high=0"),
            _taught("DS2D2, high", "ds2d2", "ds2d2.low=0", "ds2d2.high=0", "ds2d2.full=0", _AMPLIFIED),
            _taught("DS2D2, explicit and full", "ds2d2"),
            _taught("DS2D2, all", "ds2d2", _AMPLIFIED),
            _taught("KD-DETR", "kd-detr"),
            _taught("KD-DETR, weight 3", "kd-detr", "kd-detr.weight=3"),
            _taught("KD-DETR and DS2D2", "kd-detr,ds2d2"),
            *_WITH_SET,
            Arm("from the teacher's weights", start=TEACHER),
            replace(_taught("from the teacher's weights, SO-DETR", "so-detr-kd"), start=TEACHER),
        ),
    ),
    "long": Table(
        "Three times as long",
        (
            replace(PLAIN, name="so-detr-n, long", epochs=LONG),
            replace(_taught("SO-DETR, linear decay, long", "so-detr-kd"), epochs=LONG),
        ),
    ),
    "together": Table(
        "The best combination, and Ultralytics' models",
        (
            Arm("YOLO26n", "yolo26n", "yolo26n", recipe=None),
            Arm("YOLO26n, as long", "yolo26n", "yolo26n", recipe=None, epochs=LONG),
            Arm("RT-DETR-L", "rtdetr-l", "rtdetr-l", recipe=None),
            Arm("rtdetr-n, Ultralytics' recipe", "rtdetr-n", "rtdetr-n", recipe="ultralytics.yaml"),
            Arm("rtdetr-n", "rtdetr-n", "rtdetr-n"),
            PLAIN,
            *_WITH_SET,
        ),
    ),
    "thumbdet": Table(
        "Thumbnails",
        (
            Arm("full size, as it is", start=TEACHER, imgsz=TEACHER_SIDE, epochs=0),
            *_TWICE,
            _thumbnail("area, 4x", 4, "area"),
            _thumbnail("bicubic, 4x", 4, "bicubic"),
            _thumbnail("learned, 4x, one stage", 4, "learned", "thumbdet.stage_epochs=0"),
            _thumbnail("learned, 4x, two stages", 4, "learned", "thumbdet.stage_epochs=2"),
        ),
    ),
    "thumbdet-2x": Table("Thumbnails of 2x beside one another", _TWICE, page="thumbdet"),
}
