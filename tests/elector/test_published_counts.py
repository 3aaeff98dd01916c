"""Our parameter counts against those of the FlexiBERT 2.0 models that were trained.

Published are hidden widths, mean heads, mean feed-forward width, how many heads of each type
there are in the whole model, and the count in millions to two decimals; which layer has which
heads and stacks is not. So every assignment in the space is counted. The model of two layers
comes as a pair, narrow and wide, that shares its feed-forward stacks: few assignments fit both.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from elector.base.table import Column
from elector.describe.layered import base, layered
from elector.describe.model import HEAD_TYPES
from elector.evaluation.resolve import resolve
from elector.operations.tensors import parameter_tensors

pytestmark = pytest.mark.reference

STACKS = (256, 512, 1024, 2048, 3072, 4096)
HEADS = (2, 4, 8, 12)
NAMES = {
    "sdp": "sa_sdp",
    "wma": "sa_wma",
    "dft": "l_dft",
    "dct": "l_dct",
    "c5": "c_5",
    "c9": "c_9",
    "c13": "c_13",
}
CONVOLVED = tuple(f"c{kernel} values" for kernel in (5, 9, 13))
Layers = tuple[tuple[int, ...], ...]


def pair_of_two_layers(folder: Path) -> list[dict[str, str]]:
    """The narrow and the wide model of two layers."""
    path = folder.parent / "facts" / "flexibert2_trained_models.csv"
    if not path.exists():
        pytest.skip("reference data absent: ../shared/facts/flexibert2_trained_models.csv")
    with path.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["layers"] == "2"]


def heads_of(row: dict[str, str]) -> Iterator[Layers]:
    """Every way to share the heads out: a tuple of type numbers for each of the two layers."""
    given = json.loads(row["op_counts"].replace(";", ","))
    counts = [given.get(NAMES[kind], 0) for kind in HEAD_TYPES]
    for first in itertools.product(*(range(n + 1) for n in counts)):
        rest = [n - taken for n, taken in zip(counts, first, strict=True)]
        if sum(first) in HEADS and sum(rest) in HEADS:
            yield tuple(tuple(np.repeat(np.arange(len(counts)), n)) for n in (first, rest))


def stacks_of(row: dict[str, str]) -> list[Layers]:
    """Every pair of feed-forward stacks with the published mean width."""
    wanted = round(2 * float(row["mean_ff_total"]))
    chains = [c for n in (1, 2, 3) for c in itertools.product(STACKS, repeat=n)]
    return [pair for pair in itertools.product(chains, chains) if sum(map(sum, pair)) == wanted]


def counts(
    row: dict[str, str], heads: list[Layers], stacks: list[Layers], without: tuple[str, ...]
) -> np.ndarray:
    """(M,) parameters of M models by our rules, but for the tensors called `without`."""
    size, settings = len(heads), {"layers": np.full(len(heads), 2.0)}
    for i, width in enumerate(row["hiddens"].split("|")):
        own = [h[i] for h in heads]
        settings[f"layer{i + 1}.hidden"] = np.full(size, float(width))
        settings[f"layer{i + 1}.heads"] = np.array([len(h) for h in own], float)
        for j in range(max(HEADS)):
            kinds = [h[j] if j < len(h) else 0 for h in own]
            settings[f"layer{i + 1}.head{j + 1}"] = np.array(kinds, float)
        for s in range(3):
            wide = [f[i][s] if s < len(f[i]) else 0 for f in stacks]
            settings[f"layer{i + 1}.feed_forward{s + 1}"] = np.array(wide, float)
    given = {"model": "bert-tiny", "accelerator": "systolic"}
    group = next(resolve({key: Column.constant(value, 1) for key, value in given.items()}, 1))
    tensors = parameter_tensors(layered(base(), settings, size), group.workload)
    total = sum(
        (t.elements * t.count for t in tensors if not t.name.startswith(without)), np.zeros(size)
    )
    return np.asarray(total)


def shared_stacks(pair: list[dict[str, str]], without: tuple[str, ...] = ()) -> int:
    """How many distinct sizes of the shared stacks give both published counts."""
    stacks, fits = stacks_of(pair[0]), []
    for row in pair:
        heads = list(heads_of(row))
        low = counts(row, heads, [stacks[0]] * len(heads), without)  # stacks and heads add up
        more = counts(row, [heads[0]] * len(stacks), stacks, without)
        more = more - low[0]
        error = low[:, None] + more[None] - float(row["params_M"]) * 1e6
        fits.append((np.abs(error) <= 5000).any(axis=0))
    return len(set(more[fits[0] & fits[1]]))


def test_the_published_counts_are_reached(reference_dir: Path) -> None:
    assert shared_stacks(pair_of_two_layers(reference_dir)) == 1


@pytest.mark.parametrize(
    "without",
    [
        ("relative positions",),
        CONVOLVED,
        ("output",),
        ("token embedding",),
        ("pooler",),
    ],
    ids=lambda names: names[0],
)
def test_they_are_not_without_some_tensor(reference_dir: Path, without: tuple[str, ...]) -> None:
    """What the counts can tell apart; the matrix of wma heads, for one, they cannot."""
    assert shared_stacks(pair_of_two_layers(reference_dir), without) == 0
