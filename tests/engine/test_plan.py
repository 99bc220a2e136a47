"""What a training decides before it starts."""

from pathlib import Path

import pytest
import torch

from tests.conftest import TINY
from uavdet import UAVDet
from uavdet.arguments import parse_options, read_recipe
from uavdet.assets import DEMO_WEIGHTS, find_yaml, list_assets
from uavdet.engine.families import Family
from uavdet.engine.plan import check_imgsz, cpu_has_bfloat16, plan_training, resolve_precision
from uavdet.errors import CheckpointError, ConfigError, UsageError


def plan(tiny_data, **options):
    return plan_training({"model": "so-detr-n.yaml", "data": str(tiny_data), **options})


def test_our_models_take_rtdetrs_recipe(tiny_data):
    options = plan(tiny_data).options
    expected = {
        "optimizer": "AdamW", "lr0": 1e-4, "weight_decay": 1e-4, "clip": 0.1, "warmup_iterations": None,
        "warmup_bias_lr": 0.0, "deterministic": False, "nbs": 0, "epochs": 72, "mosaic": 0.0,
    }  # fmt: skip
    assert {key: options[key] for key in expected} == expected


@pytest.mark.parametrize(("model", "family"), [("yolo11n.yaml", Family.STOCK_YOLO), ("rtdetr-l", Family.STOCK_RTDETR)])
def test_stock_models_keep_the_recipe_of_ultralytics(tiny_data, model, family):
    from ultralytics.utils import DEFAULT_CFG_DICT

    given = plan(tiny_data, model=model)
    assert given.family is family
    for key in (
        "optimizer",
        "lr0",
        "lrf",
        "weight_decay",
        "epochs",
        "mosaic",
        "warmup_epochs",
        "nbs",
        "batch",
        "imgsz",
    ):
        assert given.options[key] == DEFAULT_CFG_DICT[key], key


def test_the_user_beats_the_recipe_file_which_beats_the_default(tiny_data, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("epochs: 7\nlr0: 0.001\n")
    options = plan(tiny_data, recipe=str(recipe), lr0=0.002).options
    assert (options["epochs"], options["lr0"], options["clip"]) == (7, 0.002, 0.1)


def test_shipped_recipes_are_found_by_name(tiny_data):
    options = plan(tiny_data, recipe="so-detr").options
    assert (options["epochs"], options["patience"], options["batch"], options["mixup"]) == (350, 40, 4, 0.2)


@pytest.mark.parametrize("name", sorted(list_assets("cfg/recipes")))
def test_every_shipped_recipe_makes_a_plan(name, tiny_run, tiny_data):
    methods = read_recipe(find_yaml(name, "cfg/recipes")).get("methods", [])
    taught = {f"{method}.teacher": str(tiny_run.best) for method in methods if method != "set"}
    stem = {"thumbnail": 2} if methods == ["thumbdet"] else {}
    if name == "ds2d2-amplifier.yaml":
        taught, stem = {}, {"model": str(tiny_run.best)}
    assert plan(tiny_data, recipe=name, **taught, **stem).options["methods"] == methods


def test_a_recorded_run_is_a_recipe(tiny_run, tiny_data):
    options = plan(tiny_data, recipe=str(tiny_run.save_dir / "args.yaml"), name="again").options
    assert options["queries"] == TINY["queries"]
    assert options["epochs"] == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epoch": 3}, UsageError, "Did you mean 'epochs'"),
        ({"conf": 0.3}, UsageError, "no argument of 'uavdet train', but of val"),
        ({"epochs": "many"}, UsageError, "epochs=many is not allowed"),
        ({"imgsz": 1}, UsageError, r"imgsz=1 .* The nearest is imgsz=64"),
        ({"imgsz": [320, 640]}, UsageError, "Training takes one: imgsz=640"),
        ({"model": "so-detr-x.yaml"}, ConfigError, "was not found"),
        ({"model": None}, UsageError, "No model was given"),
        ({"model": "x.onnx"}, UsageError, "exported file"),
        ({"model": "gone.pt"}, CheckpointError, "does not exist"),
        ({"model": "yolo11n-seg.yaml"}, ConfigError, "ends in Segment"),
        ({"data": "gone.yaml"}, ConfigError, "was not found"),
        ({"data": None}, ConfigError, "No dataset"),
        ({"recipe": "gone"}, ConfigError, "was not found"),
        ({"methods": "seet"}, UsageError, "Unknown method 'seet'"),
        ({"set.rho": 1}, UsageError, "not switched on"),
        ({"box": 7.5}, UsageError, "belongs to YOLO"),
        ({"model": "yolo11n.yaml", "queries": 30}, UsageError, "belongs to DETR"),
        ({"amp": "fp8"}, UsageError, "amp=fp8"),
        ({"resume": "gone.pt"}, CheckpointError, "does not exist"),
        ({"lr0": "none"}, UsageError, r"lr0=none is not allowed\. Its default is 0\.01"),
        ({"max_det": "1e400"}, UsageError, "max_det=1e400"),
        ({"fraction": 0}, UsageError, "a share above 0"),
        ({"scale": "2,1"}, UsageError, "smallest,largest"),
        ({"cache": "banana"}, UsageError, "cache=banana"),
        ({"seed": -1}, UsageError, "at least 0"),
        ({"save_period": 0}, UsageError, "-1 for never"),
        ({"freeze": True}, UsageError, "a number of rows"),
        ({"time": 0}, UsageError, "above 0"),
        ({"classes": "7"}, UsageError, "classes=7 is no class of"),
        ({"pretrained": 3}, UsageError, "pretrained=3"),
        ({"device": "banana"}, UsageError, "device=banana is not available"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(tiny_data, options, error, message):
    with pytest.raises(error, match=message) as caught:
        plan(tiny_data, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("fraction", "0.5", 0.5),
        ("fraction", "1.0", 1.0),
        ("fraction", "3", 3),
        ("fraction", "5.0", 5),
        ("freeze", "3.0", 3),
        ("freeze", "[0, 'neck']", [0, "neck"]),
        ("freeze", "['0']", [0]),
        ("loggers", "['tensorboard']", ["tensorboard"]),
        ("scale", "0.5", 0.5),
        ("scale", "0.5,1.5", (0.5, 1.5)),
        ("cache", "disk", "disk"),
        ("cache", "True", True),
        ("freeze", "2", 2),
        ("freeze", "[stem1, 3]", ["stem1", 3]),
        ("pretrained", "resnet18d", "resnet18d"),
        ("save_period", "-1", -1),
    ],
)
def test_values_are_read_from_text(name, text, value):
    read = parse_options({name: text}, "train")[name]
    assert read == value
    assert type(read) is type(value)


def test_recipes_refuse_unknown_keys(tiny_data, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("epochss: 7\n")
    with pytest.raises(UsageError, match=r"mine\.yaml: Unknown key 'epochss'\. Did you mean 'epochs'"):
        plan(tiny_data, recipe=str(recipe))


def test_none_means_the_recipes_size_and_batch(tiny_data):
    options = plan(tiny_data, imgsz=None, batch="none").options
    assert (options["imgsz"], options["batch"]) == (640, 16)


def test_the_bundled_weights_have_a_name(tiny_data):
    assert plan(tiny_data, model="so-detr-n-demo").start is not None
    assert plan(tiny_data, pretrained="so-detr-n-demo").options["pretrained"] == str(DEMO_WEIGHTS)


def test_max_det_follows_the_queries_of_a_checkpoint(tiny_data, tmp_path):
    weights = UAVDet("rtdetr-n.yaml", queries=500).save(tmp_path / "x.pt")
    assert plan(tiny_data, model=str(weights)).options["max_det"] == 500


def test_more_queries_raise_max_det_unless_it_was_given(tiny_data):
    assert plan(tiny_data, queries=500).options["max_det"] == 500
    assert plan(tiny_data, queries=500, max_det=100).options["max_det"] == 100


@pytest.mark.parametrize("imgsz", [32, 640, [384, 640]])
def test_legal_sizes_pass(imgsz):
    assert check_imgsz(imgsz) == imgsz


@pytest.mark.parametrize(("imgsz", "nearest"), [(1, 32), (100, 96), (650, 640)])
def test_illegal_sizes_name_the_nearest(imgsz, nearest):
    with pytest.raises(UsageError, match=f"imgsz={nearest}"):
        check_imgsz(imgsz)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_precision_follows_the_device():
    assert resolve_precision("auto", "cpu") == ("bf16" if cpu_has_bfloat16() else "fp32")
    assert resolve_precision(False, "cpu") == "fp32"
    assert resolve_precision(True, "cpu") == "fp32"
    with pytest.raises(UsageError, match="needs a CUDA GPU"):
        resolve_precision("fp16", "cpu")


def test_finished_runs_are_not_resumed(tiny_run):
    with pytest.raises(CheckpointError, match="finished run"):
        plan_training({"resume": str(tiny_run.last)})


def test_resume_without_a_run_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run"):
        plan_training({"resume": True, "project": str(tmp_path)})


def test_every_argument_named_like_one_of_ultralytics_has_its_default():
    from ultralytics.utils import DEFAULT_CFG_DICT

    from uavdet.argument_table import TABLE

    # Decided by the model, the mode or the recipe rather than by one number.
    ours = {"batch", "imgsz", "plots", "tracker", "format", "opset", "save", "conf", "iou", "warmup_epochs"}
    for argument in TABLE:
        shared = {"train", "val", "predict", "track", "export"} & set(argument.modes)
        if shared and argument.name in DEFAULT_CFG_DICT and argument.name not in ours:
            assert argument.default == DEFAULT_CFG_DICT[argument.name], argument.name


def test_shipped_dataset_yamls_are_readable():
    from uavdet.assets import list_assets
    from uavdet.data.config import load_data_config

    for file in list_assets("datasets").values():
        assert load_data_config(Path(file)).nc > 0


def test_files_of_methods_are_recorded_with_their_folder(tmp_path, tiny_data, tiny_run, monkeypatch):
    monkeypatch.chdir(tiny_run.best.parent)
    options = {"model": "rtdetr-n.yaml", "data": str(tiny_data), "project": str(tmp_path), "methods": "so-detr-kd"}
    plan = plan_training({**options, "so-detr-kd.teacher": "best.pt", "so-detr-kd.weight": "0.5:linear"})
    assert plan.recipe()["so-detr-kd.teacher"] == str(tiny_run.best)
    assert plan.recipe()["so-detr-kd.weight"] == "0.5:linear"
