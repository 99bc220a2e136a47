"""Percentiles, ratios and the table."""

import json
from dataclasses import replace

import pytest

from uavdet.benchmark.report import BenchmarkReport, Machine, Percentiles, figures_of
from uavdet.benchmark.settings import Description, PassTimes


def passes(*wholes):
    return [PassTimes(0.001, whole - 0.003, 0.002, whole, 2 * whole) for whole in wholes]


def figures(model, times, first=None, batch=1, first_batch=1, **finish):
    description = Description("cpu", "fp32", [320, 640], batch)
    finish = {"peak_mb": 200.0, "gflops": None, **finish}
    return figures_of(model, description, finish, times, (first or times, first_batch))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.25], (250.0, 250.0, 250.0)),
        ([0.0, 1.0], (500.0, 900.0, 990.0)),  # on the line between two values
        ([n / 1000 for n in range(101)], (50.0, 90.0, 99.0)),
    ],
)
def test_percentiles_are_those_of_a_count(seconds, expected):
    found = Percentiles.of(seconds)
    assert (found.p50, found.p90, found.p99) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("wholes", "first", "batches", "ratio"),
    [
        ([0.2], [0.2], (1, 1), 1.0),
        ([0.2, 0.3, 0.1], [0.1, 0.1, 0.1], (1, 1), 2.0),
        ([0.2, 2.0, 0.2], [0.1, 1.0, 0.1], (1, 1), 2.0),  # a slow moment slows both
        ([0.4, 0.4], [0.1, 0.1], (4, 1), 1.0),  # four images in four times the time
        ([0.1, 0.1], [0.4, 0.4], (1, 2), 0.5),
    ],
)
def test_the_ratio_is_the_median_over_rounds_for_one_image(wholes, first, batches, ratio):
    found = figures("a", passes(*wholes), passes(*first), *batches)
    assert found.ratio == pytest.approx(ratio)


def test_every_part_has_percentiles_in_milliseconds():
    found = figures("a", passes(0.1, 0.2, 0.3))
    assert (found.preprocess.p50, found.inference.p50, found.postprocess.p50) == (1.0, 197.0, 2.0)
    assert (found.whole.p50, found.processor.p50) == (200.0, 400.0)


@pytest.mark.parametrize(
    ("load", "threads", "busy"), [(None, 4, False), (0.4, 4, False), (0.6, 4, True), (2.4, 2, False), (2.6, 2, True)]
)
def test_a_machine_is_busy_where_others_had_the_processors_of_the_models(load, threads, busy):
    assert Machine("", 4, threads, load).busy is busy


@pytest.mark.parametrize(("sizes", "told"), [([(64, 64), (64, 64)], False), ([(64, 64), (64, 96)], True)])
def test_inputs_of_two_sizes_are_told(sizes, told):
    models = [replace(figures("x", passes(0.1)), imgsz=list(size)) for size in sizes]
    table = BenchmarkReport(models, 1, [64, 64], Machine("", 2, 2, None)).table()
    assert ("inputs of different sizes" in table) is told


@pytest.mark.parametrize("load", [0.1, 7.5])
def test_table_and_json_hold_every_model(load):
    times = passes(0.1, 0.2, 0.3)
    models = [figures("a.onnx", times, gflops=12.34), figures(f"{'long/' * 10}b.pt", times, peak_mb=None)]
    report = BenchmarkReport(models, 3, [1080, 1920], Machine("Chip", 4, 2, load if load < 1 else 7.5))
    table = report.table()
    rows = table.splitlines()[2:4]
    assert rows[0].split()[:7] == ["a.onnx", "cpu", "fp32", "640x320", "1", "12.3", "200"]
    assert rows[1].startswith("...")
    assert "/b.pt" in rows[1]
    assert len({len(line) for line in table.splitlines()[:4]}) == 1
    assert "1920x1080" in table
    assert ("Other programs" in table) is (load > 1)
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["models"][0]["whole"] == {"p50": 200.0, "p90": 280.0, "p99": 298.0}
    assert plain["models"][1]["peak_mb"] is None
    assert plain["machine"] == {"processor": "Chip", "processors": 4, "threads": 2, "load": load, "busy": load > 1}
