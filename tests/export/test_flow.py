"""The way from a model to a file: temporary name, comparison, final name."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from uavdet import UAVDet
from uavdet.cli import main
from uavdet.errors import ConfigError, ExportError, UAVDetError, UsageError
from uavdet.export import parity
from uavdet.export.flow import export_proven, read_report, report_file
from uavdet.export.network import NetworkOptions
from uavdet.export.registry import ExportFormat

GATED = ExportFormat("test", "", "onnx", "tests.export.test_flow:write_size")
FREE = ExportFormat("test", "", "onnx", "tests.export.test_flow:write_size", gated=False)


def write_size(model, file, options, meta):
    """Stand for an exporter: write the size that was asked for."""
    file.write_text(str(options.imgsz))


def export(out, chosen=GATED, imgsz=(64, 64), parity=True, data=None, **options):
    return export_proven(None, chosen, out, NetworkOptions(imgsz=imgsz, **options), {}, parity=parity, data=data)


@dataclass(frozen=True)
class Report:
    """A report that says what a test wants it to."""

    file: str
    passed: bool

    def write(self, path):
        Path(path).write_text(json.dumps({"file": self.file, "passed": self.passed}))

    def summary(self):
        return "one box is elsewhere."


@pytest.fixture
def judge(monkeypatch):
    """Return the calls of the parity gate, whose verdict is their `passed`."""
    calls = {"passed": True, "seen": []}

    def check(module, file, **options):
        assert file.is_file(), "the file is there"
        calls["seen"].append((Path(file).name, options))
        return Report(str(file), calls["passed"])

    monkeypatch.setattr(parity, "check_parity", check)
    return calls


def test_a_file_that_agrees_gets_its_name_and_a_report(judge, tmp_path):
    out = export(tmp_path / "x.onnx", output="raw", half=True, data="d.yaml")
    assert {path.name for path in tmp_path.iterdir()} == {"x.onnx", "x.onnx.parity.json"}
    assert read_report(out) == {"file": str(out), "passed": True}
    ((name, options),) = judge["seen"]
    assert name != "x.onnx", "compared under another name"
    assert options == {"precision": "fp16", "data": "d.yaml", "output": "raw", "max_det": 300, "images": 16}


def test_a_file_that_differs_is_rejected(judge, tmp_path):
    judge["passed"] = False
    with pytest.raises(ExportError, match=r"x.onnx' does not agree .* named x.onnx.rejected: one box") as caught:
        export(tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"x.onnx.rejected", "x.onnx.rejected.parity.json"}
    assert json.loads((tmp_path / "x.onnx.rejected.parity.json").read_text())["file"].endswith("x.onnx.rejected")


def test_a_rejected_file_does_not_replace_an_earlier_one(judge, tmp_path):
    out = export(tmp_path / "x.onnx")
    judge["passed"] = False
    with pytest.raises(ExportError):
        export(out, imgsz=(96, 96))
    assert out.read_text() == "(64, 64)"
    assert read_report(out)["passed"]


def test_nothing_is_compared_where_that_was_asked_for(judge, tmp_path):
    out = tmp_path / "x.onnx"
    report_file(out).write_text("{}")
    export(out, parity=False)
    assert not judge["seen"]
    assert read_report(out) is None, "an earlier report is of another file"


@pytest.mark.parametrize("parity", [True, False])
def test_the_report_of_an_earlier_file_is_gone_before_a_new_one_has_its_name(judge, tmp_path, monkeypatch, parity):
    def kill(*_):
        raise KeyboardInterrupt

    out = export(tmp_path / "x.onnx")
    monkeypatch.setattr("uavdet.export.flow.finish_report", kill)
    with pytest.raises(KeyboardInterrupt):
        export(out, imgsz=(96, 96), parity=parity)
    assert out.read_text() == "(96, 96)"
    assert read_report(out) is None


@pytest.mark.parametrize("name", ["m.safetensors", "./m.safetensors", None])
def test_an_export_does_not_replace_its_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = UAVDet().save("m.safetensors").read_bytes()
    with pytest.raises(UsageError, match="is the model itself, whose weights would be lost"):
        UAVDet("m.safetensors").export(format="safetensors", half=True, **({"out": name} if name else {}))
    assert Path("m.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"out": "/proc/x.onnx"}, UsageError, "out=/proc/x.onnx cannot be written: /proc: "),
        ({"out": "/proc/deep/x.onnx"}, UsageError, "cannot be written: /proc: "),
        ({"data": "gone.yaml"}, ConfigError, "'gone.yaml' was not found"),
        ({"data": "visdrone.yaml"}, UAVDetError, "visdrone"),
    ],
)
def test_what_cannot_end_well_is_refused_before_anything_is_written(options, error, message, tmp_path, monkeypatch):
    monkeypatch.setattr("uavdet.model.export_proven", lambda *given, **more: pytest.fail("too late"))
    with pytest.raises(error, match=message):
        UAVDet().export(**{"out": str(tmp_path / "x.onnx"), **options})
    assert not list(tmp_path.iterdir())


def test_formats_without_a_gate_are_not_compared(judge, tmp_path):
    export(tmp_path / "x.onnx", FREE)
    assert not judge["seen"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def test_a_comparison_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(parity, "check_parity", fail)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("passed", [True, False])
def test_the_command_line_tells_the_verdict(judge, tmp_path, capsys, passed):
    judge["passed"] = passed
    words = ["export", "model=rtdetr-n.yaml", "queries=20", "imgsz=64", f"out={tmp_path / 'x.onnx'}", "json=True"]
    assert main(words) == (0 if passed else 7)
    captured = capsys.readouterr()
    if passed:
        result = json.loads(captured.out)
        assert result["file"] == str(tmp_path / "x.onnx")
        assert result["bytes"] == (tmp_path / "x.onnx").stat().st_size
        assert result["parity"]["passed"]
    else:
        assert captured.out == ""
        assert len([line for line in captured.err.splitlines() if line.startswith("error:")]) == 1


def test_the_gate_itself_passes_a_good_file(tmp_path):
    out = UAVDet().export(imgsz=64, out=str(tmp_path / "x.onnx"))
    assert read_report(out)["passed"]
