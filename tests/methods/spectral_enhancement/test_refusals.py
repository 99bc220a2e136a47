"""Settings that cannot work, or do nothing, are refused in one line before anything is trained or written."""

import pytest

from tests.conftest import TINY
from tests.methods.detr_pairs import build
from tests.methods.spectral_enhancement.mounted import mount
from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.plan import plan_training
from uavdet.errors import UsageError
from uavdet.methods.spectral_enhancement import SpectralEnhancement


def options(tiny_data, settings, model="rtdetr-n.yaml", **extra):
    given = {f"set.{key}": value for key, value in settings.items()}
    return {**TINY, "model": model, "data": str(tiny_data), "epochs": 3, "methods": "set", **given, **extra}


REFUSED = [
    ({"rho": "-1"}, r"set\.rho=-1 is not allowed"),
    ({"rho": "nan"}, r"set\.rho=nan is not allowed"),
    ({"rho": "inf"}, r"set\.rho=inf is not allowed"),
    ({"rhoo": "1"}, r"Unknown key 'set\.rhoo'. Did you mean 'set\.rho'"),
    ({"reduction": "0"}, r"set\.reduction=0 is not allowed"),
    ({"reduction": "2.5"}, r"set\.reduction=2\.5 is not allowed"),
    ({"kernel": "4"}, r"set\.kernel=4 is not allowed"),
    ({"mask": "centre"}, r"set\.mask=centre is not allowed"),
    ({"norm": "level"}, r"set\.norm=level is not allowed"),
    ({"terms": "last"}, r"set\.terms=last is not allowed"),
    ({"branches": "both"}, r"set\.branches=both is not allowed"),
    ({"weight": "-1"}, r"set\.weight=-1 is not allowed"),
    ({"weight": "0"}, r"set\.weight=0 leaves nothing of set"),
    ({"weight": "1:constant:3"}, r"set\.weight=1:constant:3 never acts"),
    ({"gamma": "-0.1"}, r"set\.gamma=-0\.1 is not allowed"),
    ({"start_epoch": "-1"}, r"set\.start_epoch=-1 is not allowed"),
    ({"start_epoch": "3"}, r"set\.start_epoch=3 is not below epochs=3"),
    ({"start_epoch": "2", "weight": "1:constant:0:2"}, r"set\.start_epoch=2 is not below the end of set\.weight=1:"),
    ({"smoothing": "False", "perturbation": "False"}, "leave nothing of set"),
    ({"smoothing": "False", "kernel": "3"}, r"set\.kernel=3 has no effect with set\.smoothing=False"),
    ({"smoothing": "False", "mask": "nearest"}, r"set\.mask=nearest has no effect with set\.smoothing=False"),
    ({"smoothing": "False", "reduction": "8"}, r"set\.reduction=8 has no effect"),
    ({"smoothing": "False", "final_relu": "True"}, r"set\.final_relu=True has no effect"),
    ({"perturbation": "False", "rho": "2"}, r"set\.rho=2\.0 has no effect with set\.perturbation=False"),
    ({"perturbation": "False", "norm": "batch"}, r"set\.norm=batch has no effect"),
    ({"perturbation": "False", "branches": "merged"}, r"set\.branches=merged has no effect"),
    ({"perturbation": "False", "terms": "all"}, r"set\.terms=all has no effect"),
    ({"perturbation": "False", "gamma": "1"}, r"set\.gamma=1 has no effect"),
    ({"perturbation": "False", "start_epoch": "1"}, r"set\.start_epoch=1 has no effect"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[",".join(s) for s, _ in REFUSED])
def test_settings_are_refused(tiny_data, settings, message):
    with pytest.raises(UsageError, match=message) as caught:
        plan_training(options(tiny_data, settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{}, {"smoothing": "False"}, {"perturbation": "False"}])
@pytest.mark.parametrize("model", ["so-detr-n-set.yaml", "rtdetr-resnet50.yaml", "yolo11n.yaml"])
def test_the_recipe_is_for_every_model_and_each_half(tiny_data, model, settings):
    given = options(tiny_data, settings, model, recipe="set")
    del given["queries"], given["methods"]
    (method,) = plan_training(given).methods
    half = dict.fromkeys(settings, False)
    assert method.args == SpectralEnhancement.Args(**half)


@pytest.mark.parametrize(("key", "value"), [("terms", "all"), ("aux_denoising", "True")])
def test_settings_of_detrs_are_refused_on_a_yolo(tiny_data, key, value):
    given = options(tiny_data, {key: value}, "yolo11n.yaml")
    del given["queries"]
    with pytest.raises(UsageError, match=rf"set\.{key}={value} has no effect with a YOLO"):
        plan_training(given)


def test_compiled_networks_are_refused(tiny_data):
    with pytest.raises(UsageError, match="compile") as caught:
        plan_training(options(tiny_data, {}, compile=True))
    assert "\n" not in str(caught.value)


def test_a_level_without_a_stride_is_refused():
    config = load_model_config("rtdetr-n.yaml")
    *rows, head = config["head"]
    pool = [head[0][0], 1, "nn.MaxPool2d", [3, 2], "pool"]  # without padding: 8 x 8 cells become 3 x 3
    model = build_model({**config, "head": [*rows, pool, [["pool", *head[0][1:]], *head[1:]]]}, nc=2, queries=20)
    with pytest.raises(UsageError, match=r"cannot smooth level 0 of this model, 3 cells for 64 pixels: .*stride") as e:
        mount(model)
    assert "\n" not in str(e.value)
    mount(model, smoothing=False)  # a perturbation knows no strides


def test_a_reduction_that_leaves_no_channel_is_refused():
    with pytest.raises(UsageError, match="reduction=1000 is not usable with 96 channels"):
        mount(build(), reduction=1000)


def test_a_kernel_that_does_not_exist_at_a_stride_is_refused():
    config = load_model_config("yolov8n-p2.yaml")
    with pytest.raises(UsageError, match="cannot smooth level 0") as caught:
        mount(
            build_model({**config, "head": [*config["head"][:-1], [[0], 1, "Detect", ["nc"]]]}, nc=2), kernel="smaller"
        )
    assert "at stride 2" in str(caught.value)


def test_defaults_are_the_documented_ones():
    args = SpectralEnhancement.Args()
    assert (str(args.weight), args.rho, args.norm, args.terms, args.branches) == (
        "1",
        1,
        "image",
        "matching",
        "separate",
    )
    assert (args.mask, args.reduction, args.kernel, args.final_relu) == ("overlap", 4, "eq4", False)
    assert (args.smoothing, args.perturbation, args.start_epoch) == (True, True, None)
    assert (str(args.weight), str(args.gamma), args.aux_denoising) == ("1", "0", False)


def test_numbers_from_a_recipe_are_kernels():
    assert SpectralEnhancement.Args(kernel=3).kernel == "3"
    assert SpectralEnhancement.Args(kernel="smaller").kernel == "smaller"
