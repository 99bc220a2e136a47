"""What the tests of exports share."""

import pytest


@pytest.fixture
def not_slimmed(monkeypatch):
    """Leave graphs as they are traced where a test is of something else: slimming is more than half of an export."""
    monkeypatch.setattr("uavdet.export.onnx.simplify_graph", lambda graph: graph)
