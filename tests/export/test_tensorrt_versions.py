"""What is known of TensorRT's versions."""

import itertools

import pytest

from uavdet.errors import UsageError
from uavdet.export.tensorrt_versions import (
    FAULTS,
    JETPACKS,
    RULES,
    Platform,
    check_opset,
    check_platform,
    parse_version,
    rules_of,
)


def platform(tensorrt, cuda="12.6", machine="aarch64"):
    return Platform(tensorrt, cuda, "8.7", machine)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("10", (10,)), ("8.6.2", (8, 6, 2)), ("10.3.0.30+cuda12.5", (10, 3, 0, 30)), ("11.2.1.2", (11, 2, 1, 2))],
)
def test_versions_are_read(text, numbers):
    assert parse_version(text) == numbers


@pytest.mark.parametrize("text", ["", "x", "v10"])
def test_what_is_no_version(text):
    with pytest.raises(UsageError, match="is no version of TensorRT"):
        parse_version(text)


@pytest.mark.parametrize(
    ("version", "strong", "explicit", "last"),
    [
        ("8.6.1", False, True, 17),
        ("8.6.2.3", False, True, 17),
        ("10.0.1", False, False, 20),
        ("10.3.0", False, False, 20),
        ("10.16.1", False, False, 20),
        ("11.0.0", True, False, 20),
        ("11.4.1", True, False, 24),
        ("12.0", True, False, 24),
    ],
)
def test_the_rules_of_versions(version, strong, explicit, last):
    rules = rules_of(version)
    assert (rules.strongly_typed, rules.explicit_batch, rules.opsets[1]) == (strong, explicit, last)
    assert rules.source


@pytest.mark.parametrize("version", ["7.2.1", "8.5.3", "9.2.0"])
def test_versions_that_are_not_supported(version):
    with pytest.raises(UsageError, match=f"TensorRT {version} is not supported.*JetPack 6.2 has 10.3"):
        rules_of(version)


def test_ranges_do_not_overlap():
    for first, second in itertools.pairwise(RULES):
        assert first.end <= second.first
    assert all(fault.first < fault.end and fault.source and fault.mend for fault in FAULTS)


@pytest.mark.parametrize(
    ("version", "opset", "good"), [("8.6.2", 17, True), ("8.6.2", 18, False), ("10.3", 18, True), ("10.3", 21, False)]
)
def test_operator_sets(version, opset, good):
    if good:
        return check_opset(version, opset)
    with pytest.raises(UsageError, match=f"opset={opset} is not possible with TensorRT {version}.*Give opset=17"):
        check_opset(version, opset)
    return None


@pytest.mark.parametrize(
    "here",
    [
        platform("8.6.2", "12.2"),
        platform("10.3.0"),
        platform("10.16.0", "13.2"),
        platform("10.15.0", "13.0"),
        platform("10.12.0", "13.0", "x86_64"),
        platform("11.4.1", "13.2"),
    ],
)
def test_platforms_of_which_nothing_is_known(here):
    assert check_platform(here) == []


@pytest.mark.parametrize(
    ("here", "message"),
    [
        (platform("10.13.3", "13.0"), "TensorRT 10.13.3 gives wrong boxes for RT-DETR on ARM with CUDA 13"),
        (platform("10.14.9.1", "13.1", "arm64"), "gives wrong boxes for RT-DETR"),
        (platform("10.2.0.19"), "TensorRT 10.2.0.19 is broken"),
        (platform("8.5.2"), "TensorRT 8.5.2 is not supported"),
    ],
)
def test_platforms_that_are_refused(here, message):
    with pytest.raises(UsageError, match=message) as caught:
        check_platform(here)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["10.13.0", "10.14.1.48", "11.1.0"])
def test_what_was_only_reported_is_a_warning(version):
    (warning,) = check_platform(platform(version, machine="x86_64"))
    assert "deformable attention" in warning
    assert "parity gate" in warning


@pytest.mark.parametrize("jetpack", JETPACKS, ids=lambda one: one.name)
def test_every_jetpack_is_told_how_it_is_known(jetpack):
    assert "memory" in jetpack.known or "not run" in jetpack.known
    assert jetpack.install
    assert rules_of(jetpack.tensorrt)
    if jetpack.name == "7.0":  # the range that is refused: the lines bring another version
        with pytest.raises(UsageError, match="or later"):
            check_platform(platform(jetpack.tensorrt, jetpack.cuda))
        assert any(">=10.15" in line for line in jetpack.install)
    else:
        assert check_platform(platform(jetpack.tensorrt, jetpack.cuda)) == []
