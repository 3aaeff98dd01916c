"""What a search keeps of each design: bytes that can be counted, and the same front for less."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_fakes import FakeCost

import transcode
from elector.base.table import Column
from transcode import objective, runs
from transcode.accuracy import lately
from transcode.accuracy.lately import Lately
from transcode.engines import streams
from transcode.engines.base import Seen
from transcode.pareto import Archive
from transcode.runs import manifest, snapshot
from transcode.runs.texts import Texts
from transcode.search import prepare
from transcode.space import Space, describe, load, restore

SMALL: dict[str, Any] = {
    "name": "layers",
    "model": {
        "base": "flexibert",
        "layers": [1, 2],
        "hidden": [128, 256],
        "heads": [1, 2],
        "head_types": ["sdp", "dft"],
        "feed_forward": [256],
    },
    "accelerator": {"base": "acceltran-edge", "pe": [64, 128]},
    "objectives": {"latency_s": "min", "area_mm2": "min"},
}
HEADER = dict.fromkeys(runs.front.HEADER)


def peak(work: Callable[[], object]) -> int:
    """Bytes that some work has at most at a time, beside what there was."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def front_of(space: Space, size: int) -> Archive:
    """So many random designs as if they were a front."""
    codes = streams.random(space, 3).suggest(size)
    rng = np.random.default_rng(0)
    names = [o.name for o in space.objectives]
    values = {name: rng.random(size) for name in names}
    return Archive(
        np.arange(size), space.pack(codes), np.stack(list(values.values()), axis=1), values
    )


def cost(columns: Mapping[str, Column], size: int) -> FakeCost:
    """Two results of some settings of a model of layers."""
    hidden = columns["model.layer1.hidden"].map(float, dtype=float)
    pe = columns["accelerator.pe"].map(float, dtype=float)
    latency = hidden * columns["model.layers"].map(float, dtype=float) / pe
    whole = np.ones(size, dtype=bool)
    return FakeCost({"latency_s": latency, "area_mm2": pe}, whole, (), np.full(size, -1))


# ---- what was looked at ----


def test_designs_are_told_apart_in_16_bytes_each() -> None:
    """64-bit keys in sorted runs: 8 bytes, and what merging runs needs for a moment."""
    rng, size, seen = np.random.default_rng(0), 400_000, Seen()

    def fill() -> None:
        while len(seen) < size:
            keys = rng.integers(0, 1 << 63, size=4_000, dtype=np.uint64)
            seen.add(keys[seen.new(keys)])

    assert peak(fill) < 24 * size  # the last merge holds old and new runs together
    assert sum(run.nbytes for run in seen.runs) == 8 * len(seen) <= 16 * size


def test_models_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lately, "MOST", 100)
    known = Lately()
    for start in range(0, 1000, 40):
        keys = np.arange(start, start + 40, dtype=np.uint64)
        assert not known.look(keys)[1].any()
        known.add(keys, np.stack([keys * 2.0, keys * 3.0], axis=1))
        values, there = known.look(keys[::-1])
        assert there.all() and (values[:, 1] == 3.0 * keys[::-1]).all()
        assert len(known) <= 100
    values, there = known.look(np.array([5, 999], dtype=np.uint64))
    assert there.tolist() == [False, True] and np.isnan(values[0]).all()


def test_what_is_forgotten_changes_no_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked anew, together with other models, a predictor says the same to the last bit."""
    space = load("transcode")
    sources = prepare.sources_of(space, None, 1, Path("unused"))
    codes = streams.random(space, 1).suggest(300)
    columns = space.decode(codes)
    scores = sources.accuracy
    assert isinstance(scores, objective.Accuracy)
    first = scores.of(space, codes, columns, lambda mean: None)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(lately, "MOST", 7)
    again = objective.Accuracy(scores.predictor, scores.features, scores.pruning)
    for start in range(0, 300, 20):
        part = slice(start, start + 20)
        some = space.decode(codes[part])
        accuracies = again.of(space, codes[part], some, lambda mean: None)  # type: ignore[arg-type,return-value]
        for name, values in accuracies.items():
            assert values.tobytes() == first[name][part].tobytes()


# ---- what is kept ----


@pytest.mark.parametrize("name", ["transcode", "bert", "machines"])
def test_kept_codes_are_bytes(name: str) -> None:
    space = load(name)
    codes = streams.random(space, 0).suggest(200)
    packed = space.pack(codes)
    assert packed.itemsize == 1 and (packed == codes).all()
    assert (space.key(packed) == space.key(codes)).all()
    assert (space.encode(space.lazily(packed)) == codes).all()
    archive = Archive.empty(codes.shape[1], 1, [], space.code_type)
    grown = archive.add(Archive(np.arange(200), codes, np.zeros((200, 1)), {}))
    assert grown.codes.dtype == space.code_type


def test_a_batch_of_many_parameters_is_asked_about_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each part answers as the whole would."""
    space = load(SMALL)
    sizes: list[int] = []

    def counted(columns: Mapping[str, Column], size: int) -> FakeCost:
        sizes.append(size)
        return cost(columns, size)

    problem = objective.Problem(space, counted)
    codes = streams.random(space, 0).suggest(50)
    whole = problem.assess(codes)
    monkeypatch.setattr(objective, "_ASKED", 20 * len(space.parameters))
    parts = problem.assess(codes)
    assert sizes == [50, 20, 20, 10]
    assert (whole.objectives == parts.objectives).all()
    assert list(whole.reasons.map(str)) == list(parts.reasons.map(str))


@pytest.mark.parametrize("make", [streams.random, streams.quasi_random])
def test_a_sequence_is_drawn_in_stretches_of_any_length(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Space, int], streams.Stream]
) -> None:
    """So many parameters at a time; the designs, and where the sequence stands, are the same."""
    drawn = []
    for most in (1 << 11, 1 << 30):
        monkeypatch.setattr(streams, "_DRAWN", most)
        stream = make(load("bert"), 1)
        drawn.append(([stream.suggest(700) for _ in range(2)], stream.position))
    for one, other in zip(drawn[0][0], drawn[1][0], strict=True):
        assert (one == other).all()
    assert drawn[0][1] == drawn[1][1]


# ---- files ----


def test_front_files_are_written_some_designs_at_a_time(tmp_path: Path) -> None:
    """Memory for the texts of a piece, however long the front is."""
    space = load("transcode")
    peaks = []
    for size in (1_500, 6_000):
        front = front_of(space, size)
        peaks.append(peak(lambda front=front: runs.front.write(tmp_path, space, front, HEADER)))
        assert len((tmp_path / "front.csv").read_text().splitlines()) == size + 1
        document = json.loads((tmp_path / "front.json").read_text())
        assert [p["id"] for p in document["points"]] == list(range(size))
    assert peaks[1] < 1.2 * peaks[0]


def test_front_json_has_the_layers_and_heads_that_a_design_has(tmp_path: Path) -> None:
    space = load("transcode")
    front = front_of(space, 300)
    runs.front.write(tmp_path, space, front, HEADER)
    columns = runs.front.columns(space, front.codes)
    for row, point in enumerate(json.loads((tmp_path / "front.json").read_text())["points"]):
        parameters = point["parameters"]
        layers = [n for n in parameters if n.startswith("model.layer") and n.endswith(".hidden")]
        assert len(layers) == parameters["model.layers"]
        for layer in layers:
            at = layer.removesuffix("hidden")
            heads = [n for n in parameters if n.startswith(f"{at}head") and n != f"{at}heads"]
            assert len(heads) == parameters[f"{at}heads"]
        assert all(columns[name][row] == value for name, value in parameters.items())
        assert {"accelerator.pe", "workload.tau_i", "workloads.serve.mode"} <= set(parameters)


@pytest.mark.parametrize("name", ["transcode", "bert", "machines", "transcode-nas"])
def test_a_space_read_back_knows_which_layers_matter(name: str) -> None:
    space = load(name)
    again = restore(describe(space))
    assert [p.needs for p in again.parameters] == [p.needs for p in space.parameters]


def test_a_front_worked_out_from_its_parts_is_the_one_that_was_written(tmp_path: Path) -> None:
    """Also of layers: a run that was killed shows the bytes that it would have written."""
    result = transcode.search(SMALL, out=tmp_path, evaluator=cost, sampler="random", budget=40)
    written = (tmp_path / "front.json").read_text(), (tmp_path / "front.csv").read_text()
    known = json.loads((tmp_path / manifest.NAME).read_text())
    known |= {"status": "running", "checkpoint": 0}
    (tmp_path / manifest.NAME).write_text(json.dumps(known))
    moment = snapshot.taken(tmp_path)
    assert moment.computed is not None and moment.size == len(result.front)
    assert ("".join(moment.json()), moment.csv) == written


def test_front_csv_is_read_with_equal_texts_once(tmp_path: Path) -> None:
    """A front of hundreds of settings repeats a few texts: a byte a cell, and the text itself."""
    space = load("transcode")
    runs.front.write(tmp_path, space, front_of(space, 2_500), HEADER)
    text = (tmp_path / "front.csv").read_text()
    names, settings = [o.name for o in space.objectives], [p.name for p in space.parameters]
    held: list[Any] = []
    # What another thread of the process allocates meanwhile is in one of the two at most.
    peaks = [peak(lambda: held.append(snapshot._columns(text, settings, names))) for _ in range(2)]
    assert min(peaks) < 8 * 240 * 2_500
    columns, reader = held[0], csv.DictReader(text.splitlines())
    for row, cells in enumerate(reader):
        assert all(columns[name][row] == cell for name, cell in cells.items())
    assert row == 2_499


@pytest.mark.parametrize("values", [1, 256, 257, 300])
def test_a_column_of_texts_is_what_a_list_would_be(values: int) -> None:
    """However many values there are: a byte tells 256 apart."""
    texts = [str(n * n % values) for n in range(1_000)]
    column = Texts(texts[:300])
    column.extend(texts[300:])
    assert list(column) == texts and len(column) == 1_000
    assert column[-1] == texts[-1] and column[7] == texts[7]
    assert column[:3] == texts[:3] and column[5::99] == texts[5::99]
    with pytest.raises(IndexError):
        column[1_000]


# ---- time ----


def test_every_second_is_under_a_timer(tmp_path: Path) -> None:
    """Parts of the work add up to the session; under a hundredth of it has no name."""
    result = transcode.search("smoke", out=tmp_path, sampler="evolve", budget=3_000, jobs=1)
    timing = dict(result.manifest["timing"])
    session = timing.pop("session")
    timing.pop("session_designs")
    assert sum(timing.values()) == pytest.approx(session, rel=1e-9)
    assert timing["rest"] < 0.05 * session
    named = {"first look", "sampler", "evaluation", "recording", "archive", "front", "study"}
    assert named <= set(timing)
