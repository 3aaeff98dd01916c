"""A part file in which a bit has changed: noticed, or without effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transcode import search
from transcode.runs import parts


def results(folder: Path) -> list[dict[str, np.ndarray]]:
    """What the whole batches of a run say."""
    return [
        {name: np.asarray(values).copy() for name, values in batch.results.items()}
        for batch in parts.read_all(folder)
    ]


def test_no_changed_bit_changes_a_result(tmp_path: Path) -> None:
    search("smoke", out=tmp_path, budget=600, sampler="random", seed=1)
    folder = tmp_path / "designs"
    (part,) = sorted(folder.glob("part-*"))
    whole, expected = part.read_bytes(), results(folder)
    rng, noticed = np.random.default_rng(0), 0
    for _ in range(60):
        changed = bytearray(whole)
        changed[int(rng.integers(4, len(whole) - 8))] ^= 1 << int(rng.integers(8))
        part.write_bytes(changed)
        actual = results(folder)
        noticed += len(actual) < len(expected)
        for before, after in zip(expected, actual, strict=False):
            for name, values in before.items():
                np.testing.assert_array_equal(after[name], values)
    assert noticed > 40  # most bytes are results or settings; the rest are names and paddings
