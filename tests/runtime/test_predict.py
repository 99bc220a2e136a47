"""`uavdet predict` with an exported file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.runtime.networks import write_network
from tests.video.sources.test_finding import picture, video
from uavdet.cli import main

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TORCH = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "ultralytics", "timm", "av", "supervision", "scipy", "PIL"}:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Missing())
from uavdet.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return a folder to work in, with a network and pictures."""
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path / "x.onnx")
    for name in ("a.jpg", "b.png", "deep/a.jpg"):
        picture(tmp_path / "images" / name, size=(32, 64))
    return tmp_path


def predict(*words):
    return main(["predict", "model=x.onnx", *words])


def test_pictures_are_drawn_and_saved(here, capsys):
    assert predict("source=images") == 0
    folder = here / "runs" / "predict" / "predict"
    assert sorted(path.name for path in folder.iterdir()) == ["a.jpg", "b.jpg"]
    drawn = cv2.imread(str(folder / "a.jpg"))
    assert drawn.shape == (32, 64, 3)
    assert (np.abs(drawn.astype(int) - 100) > 30).any()
    said = capsys.readouterr().out
    assert "x.onnx: 32x64 on cpu (CPUExecutionProvider)" in said
    assert f"1 {here / 'images' / 'a.jpg'}: 1 car, 1 person" in said
    assert f"Results saved to {folder}" in said


def test_json_is_all_of_standard_output(here, capsys):
    assert predict("source=images/**/*.jpg", "json=True", "save=False") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["save_dir"] is None
    assert result["device"] == "cpu"
    assert [Path(entry["path"]).parent.name for entry in result["results"]] == ["images", "deep"]
    first = result["results"][0]
    assert first["frame"] == 0
    assert first["shape"] == [32, 64]
    box = {"x1": 25.6, "y1": 9.6, "x2": 38.4, "y2": 22.4}
    assert first["detections"][0] == {"class": 1, "name": "car", "confidence": 0.5, "box": box}
    assert not (here / "runs").exists()


def test_it_says_what_ultralytics_says(here, capsys):
    """The same file through Ultralytics' predictor, which `show=True` and `save_crop=True` take."""
    from uavdet.commands import run_with_ultralytics

    assert predict("source=images", "json=True", "name=ours", "conf=0.2") == 0
    ours = json.loads(capsys.readouterr().out)
    options = {"model": "x.onnx", "source": "images", "json": True, "name": "theirs", "conf": 0.2}
    assert run_with_ultralytics("predict", options) == 0
    theirs = json.loads(capsys.readouterr().out)
    assert theirs["results"] == ours["results"]
    files = [sorted(path.name for path in (here / "runs" / "predict" / name).iterdir()) for name in ("ours", "theirs")]
    assert files[0] == files[1]


def test_options_are_obeyed(here, capsys):
    words = ["source=images", "json=True", "conf=0.4", "verbose=False", "project=out", "name=run", "save=False"]
    assert predict(*words, "save_txt=True", "save_conf=True") == 0
    output = capsys.readouterr()
    assert [len(entry["detections"]) for entry in json.loads(output.out)["results"]] == [1, 1]
    assert output.err == ""
    assert (here / "out" / "run" / "labels" / "a.txt").read_text() == "1 0.5 0.5 0.2 0.4 0.5\n"
    assert predict("source=images", "json=True", "classes=0", "max_det=1", "batch=2", "imgsz=32,64", "save=False") == 0
    result = json.loads(capsys.readouterr().out)
    assert [[row["name"] for row in entry["detections"]] for entry in result["results"]] == [["person"], ["person"]]


def test_files_of_one_name_do_not_write_over_one_another(here):
    assert predict("source=images/**/*.jpg", "save_txt=True", "conf=0.9") == 0
    folder = here / "runs" / "predict" / "predict"
    assert sorted(path.name for path in folder.glob("*.jpg")) == ["a-2.jpg", "a.jpg"]
    assert (folder / "labels" / "a-2.txt").read_text() == ""


@pytest.mark.parametrize(
    "options", [{"show_boxes": False}, {"show_labels": False, "line_width": 3}, {"show_conf": False}]
)
def test_what_is_drawn_is_a_matter_of_options(options, here):
    words = [f"{name}={value}" for name, value in options.items()]
    assert predict("source=images/a.jpg", *words) == 0
    drawn = cv2.imread(str(here / "runs" / "predict" / "predict" / "a.jpg")).astype(int)
    assert bool(np.abs(drawn - 100).max() > 30) is options.get("show_boxes", True)


@pytest.mark.parametrize("with_pyav", [True, False])
def test_videos_are_read_and_written(with_pyav, here, monkeypatch, capsys):
    if with_pyav:
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    video(here / "clip.avi", frames=7, rate=10)
    assert predict("source=clip.avi", "vid_stride=2", "save_txt=True", "json=True") == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 3
    folder = here / "runs" / "predict" / "predict"
    capture = cv2.VideoCapture(str(folder / "clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 5
    assert sum(capture.grab() for _ in range(9)) == 3
    assert sorted(path.name for path in (folder / "labels").iterdir()) == ["clip_1.txt", "clip_2.txt", "clip_3.txt"]


def test_a_fixed_batch_is_filled_from_several_files(here, capsys):
    write_network(here / "x.onnx", batch=4, gain=0.1)
    for level in range(6):
        picture(here / "many" / f"{level}.png", level=40 * level, size=(20, 20 + level))
    assert predict("source=many", "json=True", "save=False") == 0
    results = json.loads(capsys.readouterr().out)["results"]
    scores = [entry["detections"][0]["confidence"] for entry in results]
    assert scores == pytest.approx([0.5 + 0.1 * 40 * level / 255 for level in range(6)], abs=2e-5)
    assert [entry["shape"] for entry in results] == [[20, 20 + level] for level in range(6)]


def test_a_grey_network_reads_files_as_grey(here, capsys):
    write_network(here / "x.onnx", channels=1, gain=0.1)
    colour = np.zeros((32, 64, 3), np.uint8)
    colour[..., 1] = 200
    cv2.imwrite("c.png", colour)
    assert predict("source=c.png", "json=True") == 0
    (entry,) = json.loads(capsys.readouterr().out)["results"]
    assert entry["detections"][0]["confidence"] == pytest.approx(0.5 + 0.1 * round(0.587 * 200) / 255, abs=2e-5)
    assert cv2.imread(str(here / "runs" / "predict" / "predict" / "c.jpg")).shape == (32, 64, 3)


@pytest.mark.parametrize("as_json", [True, False])
def test_unreadable_files_are_skipped_and_told_of(as_json, here, capsys):
    (here / "images" / "empty.jpg").touch()
    assert predict("source=images", f"json={as_json}") == 3
    output = capsys.readouterr()
    assert f"skipped: {here / 'images' / 'empty.jpg'} is empty" in output.err
    assert "error: 1 of 3 files could not be read, the others have been: " in output.err
    assert len(list((here / "runs" / "predict" / "predict").iterdir())) == 2
    if as_json:
        result = json.loads(output.out)
        assert len(result["results"]) == 2
        assert result["error"].startswith("1 of 3 files")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "No source was given"),
        (["source="], 2, "No source was given"),
        (["source=gone.jpg"], 3, "source=gone.jpg does not exist"),
        (["source=*.gone"], 3, "source=*.gone matches no file"),
        (["source=zero.jpg"], 3, "zero.jpg is empty"),
        (["source=text.jpg"], 3, "text.jpg is damaged or no picture"),
        (["source=images", "model=gone.onnx"], 4, "'gone.onnx' does not exist"),
        (["source=images", "model=zero.onnx"], 4, "'zero.onnx' is empty"),
        (["source=images", "model=text.onnx"], 4, "'text.onnx' is damaged"),
        (["source=images", "model=nan.onnx"], 4, "'nan.onnx' gave NaN on device=cpu"),
        (["source=images", "device=cuda"], 2, "device=cuda needs CUDAExecutionProvider"),
        (["source=images", "device=0,1"], 2, "is not allowed. Exported files run on"),
        (["source=images", "half=True"], 2, "half=True has no effect here"),
        (["source=images", "imgsz=640"], 2, "imgsz=640 is not possible: 'x.onnx' takes 32,64"),
        (["source=images", "queries=5"], 2, "queries=5 has no effect on the exported file"),
        (["source=images", "iou=1.5"], 2, "iou=1.5 is not allowed"),
        (["source=images", "classes=9"], 2, "classes=9 is no class of x.onnx"),
        (["source=images", "batch=0.5"], 2, "batch=0.5 is for training alone"),
        (["source=images", "conf=2"], 2, "conf=2 is not allowed"),
        (["source=images", "project=text.jpg"], 2, "text.jpg is a file"),
    ],
)
def test_errors_take_one_line_and_their_exit_code(words, code, message, here, capsys):
    for name in ("zero.jpg", "zero.onnx"):
        (here / name).touch()
    for name in ("text.jpg", "text.onnx"):
        (here / name).write_text("text")
    write_network(here / "nan.onnx", rows=[[np.nan] * 6])
    model = [] if any(word.startswith("model=") for word in words) else ["model=x.onnx"]
    assert main(["predict", *model, *words]) == code
    output = capsys.readouterr()
    errors = [line for line in output.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]


def run_without_torch(*words, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_it_runs_where_torch_is_not_installed(here):
    done = run_without_torch("predict", "model=x.onnx", "source=images", "json=True", folder=here)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["results"]) == 2


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["source=https://youtube.com/x"], "source=https://youtube.com/x, a video of YouTube,"),
        (["source=screen"], "source=screen, the screen,"),
        (["source=x.heic"], "source=x.heic, a .heic picture,"),
        (["source=images", "show=True"], "show=True"),
        (["source=images", "save_crop=True"], "save_crop=True"),
    ],
)
def test_what_takes_ultralytics_names_the_extra_where_it_is_absent(words, what, here, capsys, monkeypatch):
    from uavdet.runtime import predict as module

    monkeypatch.setattr(module, "_has_ultralytics", lambda: False)
    assert predict(*words) == 6
    assert f"error: {what} needs Ultralytics, which is not installed" in capsys.readouterr().err


def test_what_takes_ultralytics_goes_to_it_where_it_is_installed(here):
    assert predict("source=images/a.jpg", "save_crop=True", "conf=0.2") == 0
    crops = here / "runs" / "predict" / "predict" / "crops"
    assert sorted(path.name for path in crops.iterdir()) == ["car", "person"]


def test_the_runtime_imports_no_torch():
    code = (
        "import sys, uavdet.runtime.predict; sys.exit(any(m in sys.modules for m in ('torch', 'ultralytics', 'timm')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
