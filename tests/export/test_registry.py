"""The table of formats against the table of arguments."""

import subprocess
import sys

import pytest

from uavdet.arguments import arguments_of
from uavdet.errors import MissingDependencyError, UsageError
from uavdet.export.registry import FORMATS, OPTIONS, ExportFormat, check_combination, find_format


@pytest.mark.parametrize("entry", FORMATS.values(), ids=list(FORMATS))
def test_every_option_is_taken_or_refused_with_a_reason(entry):
    assert set(entry.options) | set(entry.refusals) == set(OPTIONS)
    assert not set(entry.options) & set(entry.refusals)
    assert all(reason and not reason.endswith(".") for reason in entry.refusals.values())
    entry.check(entry.options)
    for option, reason in entry.refusals.items():
        with pytest.raises(UsageError, match=f"'{option}' has no effect on format={entry.name}: ") as caught:
            entry.check([option])
        assert reason in str(caught.value)


@pytest.mark.parametrize("entry", FORMATS.values(), ids=list(FORMATS))
def test_every_exporter_exists(entry):
    assert callable(entry.load_exporter())
    assert entry.help


def test_the_options_are_arguments_of_the_command():
    assert {*OPTIONS, "model", "queries", "format", "out", "json"} == set(arguments_of("export"))


def test_unknown_formats_are_refused_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'onnx'"):
        find_format("onx")


def test_a_missing_package_is_named_with_its_extra():
    entry = ExportFormat("gone", "", "gone", "no_such_package.x:write", extra="train")
    with pytest.raises(MissingDependencyError, match=r"no_such_package.*pip install 'uavdet\[train\]'"):
        entry.load_exporter()


USUAL = {"output": "detections", "input": "float", "data": None, "parity": True, "int8": False}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("onnx", {}, None),
        ("onnx", {"output": "deepstream"}, None),
        ("onnx", {"output": "raw", "input": "uint8"}, None),
        ("onnx", {"output": "deepstream", "input": "uint8"}, "input=uint8 does not go with output=deepstream"),
        ("onnx", {"data": "d.yaml"}, None),
        ("onnx", {"parity": False}, None),
        ("onnx", {"data": "d.yaml", "parity": False}, "'data' has no effect with parity=False"),
        ("onnx", {"data": "d.yaml", "parity": False, "int8": True}, None),
        ("jetson", {"data": "d.yaml", "parity": False}, None),
    ],
)
def test_values_that_do_not_go_together_are_refused(name, given, message):
    if message is None:
        return check_combination(FORMATS[name], {**USUAL, **given})
    with pytest.raises(UsageError, match=message):
        check_combination(FORMATS[name], {**USUAL, **given})
    return None


def test_the_table_imports_nothing_heavy():
    heavy = "[name for name in ('torch', 'onnx', 'ultralytics', 'numpy') if name in sys.modules]"
    code = f"import sys, uavdet.export.registry; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
