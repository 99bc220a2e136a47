"""Drawing takes most of an analysis of a few small images: tests that look at no picture go without."""

import pytest


@pytest.fixture
def undrawn(monkeypatch):
    """Have figures written as empty files, so that a test of what stands beside them is quick."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: file.write_bytes(b""))
