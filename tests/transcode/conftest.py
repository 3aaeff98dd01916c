"""What the tests of the search share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import amounts
import pytest
from search_fakes import SMALL

from transcode.space import Space, load

#: Tests that look at pictures, by their file or a word of their name; in the others the quick tests
#: save an empty one, as most of the time of a small search is spent on its picture.
NAMED = re.compile("plot|picture|drawn")
DRAWN = ("test_plot.py", "test_plot_layers.py", "test_accuracy_source.py", "test_define.py")


@pytest.fixture(autouse=True, scope="module")
def pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """A front is read and its picture written as ever; only what is in it is left out."""
    with pytest.MonkeyPatch.context() as patch:
        if amounts.quick and request.path.name not in DRAWN:
            from matplotlib.figure import Figure

            patch.setattr("transcode.plot.draw", lambda picture: Figure((1.0, 1.0)))
        yield


@pytest.fixture(autouse=True)
def own_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pictures` leaves out is there for a test that is about it."""
    if amounts.quick and NAMED.search(request.node.name):
        from transcode.plot.figure import draw

        monkeypatch.setattr("transcode.plot.draw", draw)


@pytest.fixture
def small() -> dict[str, Any]:
    """A description to change and load."""
    return {key: (dict(v) if isinstance(v, dict) else v) for key, v in SMALL.items()}


@pytest.fixture
def small_space() -> Space:
    """5,184 designs, 3,456 of them allowed."""
    return load(SMALL)
