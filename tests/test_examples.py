"""The examples run as they stand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from uavdet.assets import DEMO_WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def run(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_training_on_scenes(tmp_path):
    output = run(tmp_path, EXAMPLES / "train_on_scenes.py", tmp_path)
    assert "exported:" in output


def test_tracking_a_video(tmp_path):
    output = run(tmp_path, EXAMPLES / "track_video.py")
    assert "frame 9:" in output


def test_running_without_torch(tmp_path):
    import cv2

    from uavdet.data.scenes import Scene, SceneConfig
    from uavdet.model import UAVDet

    UAVDet().export(format="onnx", imgsz=320, out=str(tmp_path / "x.onnx"))
    cv2.imwrite(str(tmp_path / "x.jpg"), Scene(SceneConfig(seed=21, modality="thermal", min_size=8)).render(0).image)
    output = run(tmp_path, EXAMPLES / "run_without_torch.py", "x.onnx", "x.jpg")
    assert all("confidence" in json.loads(line) for line in output.splitlines())


def test_the_notebook(tmp_path):
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "notebook.py").write_text("\n".join(cells))
    assert "x.onnx" in run(tmp_path, tmp_path / "notebook.py") or (tmp_path / "runs" / "export").exists()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_says_how_to_run_it(file):
    assert f"python examples/{file.name}" in file.read_text()


def test_the_bundled_weights_are_small():
    assert DEMO_WEIGHTS.stat().st_size <= 10_000_000
