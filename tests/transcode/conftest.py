"""What the tests of the search share."""

from __future__ import annotations

from typing import Any

import pytest
from search_fakes import SMALL

from transcode.space import Space, load


@pytest.fixture
def small() -> dict[str, Any]:
    """A description to change and load."""
    return {key: (dict(v) if isinstance(v, dict) else v) for key, v in SMALL.items()}


@pytest.fixture
def small_space() -> Space:
    """5,184 designs, 3,456 of them allowed."""
    return load(SMALL)
