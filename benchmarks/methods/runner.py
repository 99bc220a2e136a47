"""Trains and validates arms, one process and one thread each, as many at once as there are workers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml
from arms import AMPLIFIER, PLAIN, SIDE, STARTS, TEACHER, TEACHER_SIDE, Arm

from uavdet.assets import find_yaml, read_yaml
from uavdet.data.scenes import SceneConfig, write_dataset
from uavdet.engine.checkpoint import read_checkpoint

HERE = Path(__file__).parent
SCENES = {"train": 3000, "val": 60}
SCENE_EPOCHS = 3
SCENE_SCHEDULE = ["warmup_iterations=300", "lrf=0.05", "cos_lr=True"]
AMPLIFIER_EPOCHS = 8
NAMES = {"person": "Person", "car": "Car", "bicycle": "Bicycle", "truck": "OtherVehicle"}


@dataclass(frozen=True)
class Settings:
    """What all arms share.

    Attributes:
        folder: Where everything is written; what is complete there is not made again.
        data: YAML of the real dataset.
        epochs: Passes over its training images.
        batch: Images a step.
        workers: Arms at once.
    """

    folder: Path
    data: Path
    epochs: int
    batch: int
    workers: int

    def weights(self, run: str) -> Path:
        """Return the last checkpoint of a run."""
        return self.folder / "train" / run / "weights" / "last.pt"

    def start(self, arm: Arm) -> Path:
        """Return what an arm starts from: a file, or the name of bundled weights."""
        return Path(TEACHER) if arm.start == TEACHER else self.weights(f"scenes-{arm.start}")

    def trained(self, arm: Arm, seed: int) -> Path:
        """Return what is scored: the last checkpoint of an arm, or what it starts from where it has no epochs."""
        return self.start(arm) if arm.epochs == 0 else self.weights(run_name(arm, seed))

    def validated(self, arm: Arm, seed: int) -> Path:
        """Return the folder of an arm's scores."""
        return self.folder / "val" / f"seed{seed}" / slug(arm.name)


def slug(name: str) -> str:
    """Return the name of an arm as a folder has it."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def run_name(arm: Arm, seed: int) -> str:
    """Return the name of a training."""
    return f"{slug(arm.name)}-{seed}"


def prepare(settings: Settings) -> None:
    """Write the synthetic scenes."""
    if not (settings.folder / "scenes" / "data.yaml").exists():
        config = SceneConfig(seed=100, size=(640, 512), objects=16, min_size=6, max_size=140)
        write_dataset(settings.folder / "scenes", SCENES, config, NAMES, modalities=("thermal",), workers=2)


def write_model(settings: Settings, arm: Arm) -> Path:
    """Write the YAML of an arm's network and return its path; a stock one's is a name that Ultralytics knows."""
    if arm.recipe is None:
        return Path(f"{arm.model}.yaml")
    config = read_yaml(
        find_yaml("so-detr-n.yaml" if arm.model == "so-detr-n-ddf" else f"{arm.model}.yaml", "cfg/models")
    )
    rows = config["head"]
    for row in rows:
        if arm.model == "so-detr-n-ddf" and row[2] == "EquivariantDDF":
            row[2] = "DDF"
        if arm.expansion is not None and row[2] == "RTDETRDecoder":
            row[3][-1] = {**row[3][-1], "expansion": arm.expansion}
    ending = "" if arm.expansion is None else f"-{arm.expansion}"
    file = settings.folder / "models" / f"{arm.model}{ending}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file


def run_arms(settings: Settings, arms: Iterable[Arm], seeds: Sequence[int]) -> list[str]:
    """Pre-train what the arms start from, then train and validate each with every seed, the first seed of all first.

    Returns:
        A line for each run that failed; the others go on.
    """
    order = [TEACHER, *STARTS]
    arms = sorted(arms, key=lambda arm: order.index(arm.start))  # those whose start is ready first come first
    failed: list[str] = []
    with ThreadPoolExecutor(settings.workers) as pool:
        made = [_start_of(arm) for arm in arms if arm.start != TEACHER]
        before = {start.name: pool.submit(pretrain, settings, start) for start in dict.fromkeys(made)}
        if any(map(_is_amplified, arms)):
            before[AMPLIFIER] = pool.submit(train_amplifier, settings)

        def run(arm: Arm, seed: int) -> None:
            try:
                for needed in (arm.start, *([AMPLIFIER] if _is_amplified(arm) else [])):
                    if needed in before:
                        before[needed].result()
                run_arm(settings, arm, seed)
            except subprocess.CalledProcessError as error:
                failed.append(f"{arm.name}, seed {seed}: {error}")

        runs = [pool.submit(run, arm, seed) for seed in seeds for arm in arms]
    for done in runs:
        done.result()  # an error other than a failed command is one of this program
    return failed


def _start_of(arm: Arm) -> Arm:
    """Return the pre-training of an arm."""
    return Arm(arm.start, arm.start, arm.start, recipe=arm.recipe and Arm.recipe)


def pretrain(settings: Settings, start: Arm) -> None:
    """Train a network on the scenes."""
    options = [f"model={write_model(settings, start)}", f"data={settings.folder / 'scenes' / 'data.yaml'}"]
    options += [f"epochs={SCENE_EPOCHS}", f"imgsz={SIDE}", *_recipe(settings, start)]
    _train(settings, f"scenes-{start.name}", [*options, *(SCENE_SCHEDULE if start.recipe else [])])


def _is_amplified(arm: Arm) -> bool:
    return any(option.endswith(AMPLIFIER) for option in arm.options)


def train_amplifier(settings: Settings) -> None:
    """Train the high-frequency amplifier of the teacher."""
    options = [f"model={TEACHER}", f"data={settings.data}", *_recipe(settings, PLAIN)]
    options += ["methods=ds2d2", "ds2d2.stage=amplifier", f"epochs={AMPLIFIER_EPOCHS}", f"imgsz={TEACHER_SIDE}"]
    _train(settings, slug(AMPLIFIER), options)


def _recipe(settings: Settings, arm: Arm) -> list[str]:
    """Return the recipe, with the batch of all arms where it is that of all arms."""
    if arm.recipe is None:
        return ["val=False", "plots=False"]
    return [f"recipe={HERE / arm.recipe}", *([f"batch={settings.batch}"] if arm.recipe == Arm.recipe else [])]


def run_arm(settings: Settings, arm: Arm, seed: int) -> None:
    """Train an arm and validate its last checkpoint, where that has not been done."""
    run, folder = run_name(arm, seed), settings.validated(arm, seed)
    if (folder / "report" / "metrics.json").exists():
        return
    if arm.epochs != 0:
        _train(settings, run, _options(settings, arm, seed))
    weights = settings.trained(arm, seed)
    where = [f"project={folder.parent}", f"name={folder.name}", "exist_ok=True"]
    scored = [f"model={weights}", f"data={settings.data}", f"imgsz={arm.imgsz}", "protocol=coco,aitod", "plots=False"]
    _command(settings, f"{run}-val", ["val", *scored, *where])


def _options(settings: Settings, arm: Arm, seed: int) -> list[str]:
    options = [f"model={write_model(settings, arm)}", f"pretrained={settings.start(arm)}", f"data={settings.data}"]
    epochs = arm.epochs or settings.epochs
    options += [f"epochs={epochs}", f"imgsz={arm.imgsz}", f"seed={seed}", *_recipe(settings, arm)]
    return options + [option.replace(AMPLIFIER, str(settings.weights(slug(AMPLIFIER)))) for option in arm.options]


def _train(settings: Settings, run: str, options: list[str]) -> None:
    last = settings.weights(run)
    if last.exists() and read_checkpoint(last).training is None:
        return
    arguments = ["train", f"resume={last}"]
    if not last.exists():
        where = [f"project={settings.folder / 'train'}", f"name={run}", "exist_ok=True"]
        arguments = ["train", *options, *where]
    _command(settings, run, arguments)


def _command(settings: Settings, name: str, arguments: list[str]) -> None:
    log = settings.folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        subprocess.run(
            [sys.executable, "-m", "uavdet", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "YOLO_OFFLINE": "1"},
            check=True,
        )
    print(f"{name}: {(time.perf_counter() - begin) / 60:.1f} min", flush=True)
