"""The other end of `uavdet.benchmark.worker`: a model in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uavdet import errors
from uavdet.benchmark.settings import Description, PassTimes, SubjectSettings
from uavdet.errors import UAVDetError

_PATIENCE = 30  # seconds for a process that has closed its output to end
_PACKAGES = Path(__file__).resolve().parents[2]


class ModelProcess:
    """Runs one model in a process of its own, so that memory is that of the model and of what runs it.

    Threads of other models neither wait actively nor compute beside it, and PyTorch is loaded for checkpoints alone.

    Args:
        settings: The model, and how to run it.

    Attributes:
        description: What the model runs on, and in what form.

    Raises:
        UAVDetError: The model cannot be opened; the error is that of its kind.
    """

    def __init__(self, settings: SubjectSettings) -> None:
        self._model = settings.model
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uavdet.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=_environment(settings.threads),
            start_new_session=True,  # an interrupt ends it through this process, without a traceback of its own
        )
        try:
            self.description = Description(**self._ask(asdict(settings)))
        except BaseException:
            self.close()
            raise

    def run(self) -> PassTimes:
        """Run it once."""
        return PassTimes(**self._ask("run"))

    def finish(self) -> dict[str, Any]:
        """Return the peak of its memory, `peak_mb`, and its `gflops`, either of which may be None."""
        return self._ask("finish")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: Any) -> dict[str, Any]:
        streams: Any = self._process
        try:
            streams.stdin.write(json.dumps(request) + "\n")
            streams.stdin.flush()
            line = streams.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UAVDetError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["kind"])(answer["error"])
        return answer

    def _last_words(self) -> str:
        code = self._process.wait(timeout=_PATIENCE)
        reason = f"by signal {-code}" if code < 0 else f"with code {code}"
        return (
            f"The process that ran '{self._model}' was ended {reason}. All models of a benchmark are held in memory at "
            "once. Give fewer, or smaller ones."
        )


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of a process: its threads, and this package where it finds it."""
    path = os.pathsep.join([str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
