"""Ultralytics stays offline and keeps its hands off the user's settings and threads."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

NO_NETWORK = """
import socket, subprocess, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was used")

def no_installer(self, command, *args, **kwargs):
    words = command if isinstance(command, str) else " ".join(map(str, command))
    assert not any(name in words for name in ("pip", "uv ", "git", "curl", "wget")), words
    start(self, command, *args, **kwargs)

start = subprocess.Popen.__init__
socket.socket.connect = refuse
socket.getaddrinfo = refuse
subprocess.Popen.__init__ = no_installer
from uavdet.engine.train import train
result = train({arguments})
from uavdet.model import UAVDet
model = UAVDet(result.best)
model.val(data={data!r}, project={project!r})
model.predict({image!r}, project={project!r}, save=True)
model.export(format="onnx", imgsz=64)
import os, torch
print(torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"))
"""


def test_a_life_without_network_and_installers(tiny_data, tmp_path):
    from tests.conftest import TINY

    arguments = {**TINY, "plots": True, "data": str(tiny_data), "epochs": 1, "project": str(tmp_path / "runs")}
    image = next((tiny_data.parent / "images" / "val").glob("*.jpg"))
    code = NO_NETWORK.format(arguments=arguments, data=str(tiny_data), project=str(tmp_path / "runs"), image=str(image))
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "OMP_"))}
    environment = {**keep, "PYTHONPATH": str(ROOT), "YOLO_CONFIG_DIR": str(tmp_path / "config"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    threads, inherited = done.stdout.splitlines()[-1].split()[:2]
    assert int(threads) == os.cpu_count()
    assert inherited == "None", "child processes would inherit a single thread"
    assert not list(Path(tiny_data).parent.rglob("*.cache")), "nothing is written beside the data"
