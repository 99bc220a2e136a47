"""The command line: words, help, errors and exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from uavdet.argument_table import ARGUMENTS, MODES
from uavdet.arguments import arguments_of, parse_options
from uavdet.cli import _name_plain_words, help_text, main, split_words
from uavdet.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (["model=a.pt", "imgsz=640"], {"model": "a.pt", "imgsz": "640"}),
        (["--model", "a.pt", "--imgsz=640"], {"model": "a.pt", "imgsz": "640"}),
        (["--json", "model=a.pt"], {"json": "True", "model": "a.pt"}),
        (["--json", "false"], {"json": "false"}),
        (["--max-det", "5"], {"max_det": "5"}),
        (["--source", "rtsp://host/x?a=b"], {"source": "rtsp://host/x?a=b"}),
        (["source=a=b.jpg"], {"source": "a=b.jpg"}),
        (["methods=set", "set.rho=1"], {"methods": "set", "set.rho": "1"}),
    ],
)
def test_words_become_options(words, options):
    assert split_words(words) == options


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["a", "b"], ["runs=a,b"]),
        (["a", "--project", "p", "b", "seed=1"], ["--project", "p", "seed=1", "runs=a,b"]),
        (["--json", "a", "--exist-ok", "true", "b"], ["--json", "--exist-ok", "true", "runs=a,b"]),
        (["--project=p", "a"], ["--project=p", "runs=a"]),
        (["runs=a"], ["runs=a"]),
    ],
)
def test_plain_words_are_no_values_of_keys(words, named):
    assert _name_plain_words(words, "runs") == named


@pytest.mark.parametrize(
    ("words", "message"),
    [(["model"], "no key=value"), (["a=1", "a=2"], "given twice"), (["--imgsz"], "has no value")],
)
def test_words_that_say_nothing_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        split_words(words)


@pytest.mark.parametrize(
    ("mode", "given", "parsed"),
    [
        ("predict", {"imgsz": "384,640"}, {"imgsz": [384, 640]}),
        ("predict", {"imgsz": "[384, 640]"}, {"imgsz": [384, 640]}),
        ("predict", {"classes": "0,2"}, {"classes": [0, 2]}),
        ("predict", {"conf": "0.3", "save_txt": "yes"}, {"conf": 0.3, "save_txt": True}),
        ("train", {"batch": "-1"}, {"batch": -1}),
        ("train", {"batch": "0.7"}, {"batch": 0.7}),
        ("train", {"methods": "a,b"}, {"methods": ["a", "b"]}),
        ("train", {"freeze": "[0, 1]"}, {"freeze": [0, 1]}),
        ("train", {"resume": "True"}, {"resume": True}),
        ("train", {"pretrained": "false"}, {"pretrained": False}),
        ("train", {"time": "None"}, {"time": None}),
        ("train", {"amp": "bf16"}, {"amp": "bf16"}),
    ],
)
def test_values_are_converted(mode, given, parsed):
    assert parse_options(given, mode) == parsed


@pytest.mark.parametrize(
    ("mode", "given", "message"),
    [
        ("train", {"epochs": "0"}, "epochs=0 is not allowed. It is an integer of at least 1"),
        ("train", {"epochs": "3.5"}, "epochs=3.5"),
        ("train", {"lr0": "fast"}, "lr0=fast is not allowed. It is a number"),
        ("train", {"lr0": "nan"}, "lr0=nan"),
        ("train", {"mosaic": "1.5"}, "from 0 to 1"),
        ("train", {"imgsz": "1,2,3"}, "height,width"),
        ("train", {"optimizer": "Adan"}, "one of auto, SGD"),
        ("predict", {"save": "maybe"}, "True or False"),
        ("export", {"format": "onx"}, "one of onnx"),
        ("predict", {"epochs": "3"}, "'epochs' is no argument of 'uavdet predict', but of train"),
        ("predict", {"sorce": "x"}, "Did you mean 'source'"),
    ],
)
def test_bad_options_are_refused_in_one_line(mode, given, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_options(given, mode)
    assert "\n" not in str(caught.value)


def test_every_mode_has_help_that_names_its_arguments():
    assert all(mode in help_text() for mode in MODES)
    for mode in MODES:
        text = help_text(mode)
        assert all(name in text for name in arguments_of(mode))


def test_a_method_and_a_recipe_have_help():
    assert "so-detr-kd.weight: 0.1:linear" in help_text("kd-auto")
    assert help_text("kd-auto.yaml") == help_text("kd-auto")
    assert "what an object adds to the weights of its cells [1.0]" in help_text("ds2d2")
    assert "recipe=ds2d2 reads" in help_text("ds2d2")
    assert "kd-auto" in help_text("train")
    with pytest.raises(UsageError, match="Did you mean 'kd-auto'"):
        help_text("kd_auto")


def test_every_argument_belongs_to_modes_that_exist():
    for argument in ARGUMENTS.values():
        assert set(argument.modes) <= set(MODES), argument.name
        assert argument.help, argument.name


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["trian"], 2, "Did you mean 'train'"),
        (["help", "trian"], 2, "Did you mean 'train'"),
        (["help", "train", "now"], 2, "one word too many"),
        (["train", "epoch=3"], 2, "Did you mean 'epochs'"),
        (["predict", "model=gone.pt", "source=x.jpg"], 4, "'gone.pt' does not exist"),
        (["predict", "model=gone.onnx", "source=x.jpg"], 4, "'gone.onnx' does not exist"),
        (["predict", "model=so-detr-n.yaml", "source=/gone/x.jpg"], 3, "source=/gone/x.jpg does not exist"),
        (["predict", "model=gone.pt", "source=gone.jpg"], 3, "source=gone.jpg does not exist"),
        (["predict", "model=gone.onnx", "source=gone.jpg"], 3, "source=gone.jpg does not exist"),
        (["predict", "model=gone.pt"], 2, "No source was given"),
        (["val", "model=so-detr-n.yaml", "data=gone.yaml"], 2, "'gone.yaml' was not found"),
        (["val", "model=so-detr-n.yaml"], 2, "No dataset was given"),
        (["info", "model=so-detr-n.yaml", "imgsz=1"], 2, "imgsz=1 is not allowed"),
        (["export", "model=yolo11n.yaml"], 2, "Export a YOLO with Ultralytics"),
        (["export", "model=so-detr-n.yaml", "opset=12"], 2, "opset=12 is not supported"),
        (["export", "model=so-detr-n.yaml", "format=torchscript", "half=True"], 2, "'half' has no effect on format"),
        (["export", "model=so-detr-n.yaml", "output=deepstream", "input=uint8"], 2, "does not go with output=deep"),
        (["track", "model=gone.pt", "source=x.jpg", "tracker=bytetrak"], 2, "Did you mean 'bytetrack'"),
        (["import"], 2, "No checkpoint was given"),
        (["import", "weights=gone.pt", "trust=True"], 4, "does not exist"),
    ],
)
def test_errors_take_one_line_and_their_exit_code(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("x.jpg", np.zeros((32, 64, 3), np.uint8))
    assert main(words) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]


def test_help_and_version_succeed(capsys):
    for words in ([], ["help"], ["--help"], ["help", "train"], ["train", "--help"], ["--version"]):
        assert main(words) == 0
    assert "usage: uavdet" in capsys.readouterr().out


def test_info_prints_json_and_nothing_else(capsys):
    assert main(["info", "model=so-detr-n.yaml", "nc=10", "imgsz=640", "json=True"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"params", "params_fused", "gflops", "gflops_fused", "gflops_all"} <= report.keys()


def test_info_prints_a_table_of_rows(capsys):
    assert main(["info", "model=rtdetr-n.yaml"]) == 0
    output = capsys.readouterr().out
    assert "decoder" in output
    assert "GFLOPs" in output


def test_checks_reports_versions(capsys):
    assert main(["checks", "json=True"]) in {0, 1}
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["torch"]
    assert report["devices"]["cpu_threads"] >= 1


def test_checks_finds_wheels_that_overwrite_each_other(monkeypatch, capsys):
    from uavdet import checks

    installed = {"opencv-python": "5", "opencv-python-headless": "4", "onnxruntime": "1"}
    monkeypatch.setattr(checks, "_version", installed.get)
    assert main(["checks"]) == 1
    assert "opencv-python and opencv-python-headless both install 'cv2'" in capsys.readouterr().out


WITHOUT_TORCH = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "ultralytics", "timm", "pydantic", "scipy"}:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Missing())
import uavdet, uavdet.runtime
from uavdet.cli import main
codes = [main(["help"]), main(["help", "train"]), main(["train", "epoch=3"]), main(["predict", "source=x.jpg"])]
print(codes, file=sys.stderr)
"""


def test_help_and_runtime_work_without_torch():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1] == "[0, 0, 2, 6]", done.stderr
    assert "pip install 'uavdet[train]'" in done.stderr
