from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from transcode.engines.evolve.families import families
from transcode.engines.evolve.variation import Variation
from transcode.space import Space, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def space() -> Space:
    return load("transcode")


def column(space: Space, name: str) -> int:
    return next(i for i, p in enumerate(space.parameters) if p.name == name)


def drawn(space: Space, count: int) -> np.ndarray:
    """(S, D) codes of random designs."""
    unit = np.random.default_rng(1).random((count, len(space.parameters)))
    return np.ascontiguousarray(space.from_unit(unit).T)


def test_layers_and_heads_are_families(space: Space) -> None:
    grouped = families(space)
    (block,) = grouped.blocks
    assert block.shape == (12, 2 + 12 + 3)
    names = [{space.parameters[c].name for c in whole} for whole in grouped.wholes]
    assert {f"model.layer{i}.hidden" for i in range(1, 13)} in names
    within = {f"model.layer3.head{h}" for h in range(1, 13)}
    assert within in [{space.parameters[c].name for c in scope} for scope in grouped.scopes]
    everything = {f"model.layer{i}.head{h}" for i in range(1, 13) for h in range(1, 13)}
    assert everything in names


@pytest.mark.parametrize("name", ["bert", "elector", "machines", "reram", "smoke"])
def test_other_spaces_have_no_layers(name: str) -> None:
    if name == "reram":
        name = "benchmarks/spaces/reram.yaml"
    assert not families(load(name)).blocks


def test_filling_continues_the_last_layer_and_changes_no_design(space: Space) -> None:
    grouped, codes = families(space), drawn(space, 200)
    filled = codes.copy()
    grouped.fill(filled)
    depth = np.array(space.parameters[column(space, "model.layers")].values)[
        codes[column(space, "model.layers")]
    ].astype(int)
    block = grouped.blocks[0]
    for design, layers in enumerate(depth):
        last = filled[block[layers - 1], design]
        for later in range(layers, 12):
            assert (filled[block[later], design] == last).all()
    assert (space.canonical(filled.T.copy()) == codes.T).all()


def test_filling_continues_the_last_head(space: Space) -> None:
    grouped, codes = families(space), drawn(space, 200)
    heads = column(space, "model.layer1.heads")
    two = codes[heads] == space.parameters[heads].values.index(2)
    grouped.fill(codes)
    types = codes[[column(space, f"model.layer1.head{h}") for h in range(2, 13)]][:, two]
    assert two.any() and (types == types[0]).all()


def test_a_spread_value_is_that_of_the_column(space: Space) -> None:
    grouped, codes = families(space), drawn(space, 500)
    grouped.fill(codes)
    before, hidden = codes.copy(), column(space, "model.layer2.hidden")
    rows = np.arange(0, 500, 2)
    grouped.spread(codes, np.full(250, hidden), rows, np.random.default_rng(0))
    whole = next(w for w in grouped.wholes if hidden in w)
    assert (codes[whole][:, rows] == before[hidden, rows]).all()
    rest = np.setdiff1d(np.arange(len(codes)), whole)
    assert (codes[rest] == before[rest]).all()
    assert (codes[:, 1::2] == before[:, 1::2]).all()


def test_a_column_without_family_spreads_nothing(space: Space) -> None:
    grouped, codes = families(space), drawn(space, 50)
    before = codes.copy()
    alone = np.full(50, column(space, "accelerator.pe"))
    grouped.spread(codes, alone, np.arange(50), np.random.default_rng(0))
    assert (codes == before).all()


def test_copied_layers_are_layers_of_the_design(space: Space) -> None:
    grouped, codes = families(space), drawn(space, 300)
    grouped.fill(codes)
    before = codes.copy()
    grouped.copy_layers(codes, np.arange(300), np.random.default_rng(0))
    block = grouped.blocks[0]
    for design in range(300):
        known = {tuple(before[layer, design]) for layer in block}
        assert {tuple(codes[layer, design]) for layer in block} <= known
    assert (codes != before).any()


STACKS = [f"feed_forward{s}" for s in (1, 2, 3)]


def stacks(space: Space, codes: np.ndarray) -> np.ndarray:
    """(12, 3, D) widths of the stacks of all layers."""
    return np.array(
        [
            [
                np.array(space.parameters[c].values, dtype=float)[codes[c]]
                for c in (column(space, f"model.layer{i}.{name}") for name in STACKS)
            ]
            for i in range(1, 13)
        ]
    )


def test_lists_are_what_every_layer_has_several_of(space: Space) -> None:
    grouped = families(space)
    assert sorted(columns.shape for columns in grouped.lists) == [(12, 3), (12, 12)]
    names = {tuple(space.parameters[c].name for c in columns[4]) for columns in grouped.lists}
    assert tuple(f"model.layer5.{name}" for name in STACKS) in names
    scopes = [{space.parameters[c].name for c in scope} for scope in grouped.scopes]
    assert {f"model.layer{i}.feed_forward3" for i in range(1, 13)} in scopes


def test_a_rewritten_list_is_exchanged_or_drawn_anew(space: Space) -> None:
    """The first width is never 0, so a 0 does not change places with it."""
    grouped, codes = families(space), drawn(space, 4000)
    before, old = codes.copy(), stacks(space, codes)
    grouped.rewrite(codes, np.arange(0, 4000, 2), np.random.default_rng(4))
    assert (codes[:, 1::2] == before[:, 1::2]).all()
    lists = np.concatenate([columns.ravel() for columns in grouped.lists])
    assert (np.delete(codes, lists, axis=0) == np.delete(before, lists, axis=0)).all()
    new = stacks(space, codes)
    assert (new[:, 0] > 0).all()
    changed = (new != old).any(axis=1)  # (12, D)
    rows = np.flatnonzero(changed.any(axis=0))
    assert 700 < len(rows) < 1000  # half of 2,000 are of the other list
    exchanged = (np.sort(new[:, :, rows], axis=1) == np.sort(old[:, :, rows], axis=1)).all((0, 1))
    assert 0.35 < exchanged.mean() < 0.55
    redrawn = new[:, :, rows[~exchanged]]
    alike = (redrawn == redrawn[:1]).all(axis=(0, 1))
    assert 0.85 < alike.mean() < 0.95  # else in one layer
    assert set(changed[:, rows[~exchanged][~alike]].sum(axis=0)) == {1}


def test_a_layer_with_choices_of_its_own_keeps_them() -> None:
    """Its place is no member of the lists and families of the others."""
    described = yaml.safe_load((ROOT / "spaces" / "transcode.yaml").read_text())
    described["model"]["layer3.feed_forward2"] = [256, 512]
    own = load(described)
    grouped, codes = families(own), drawn(own, 500)
    special = column(own, "model.layer3.feed_forward2")
    assert sorted(columns.shape for columns in grouped.lists) == [(12, 2), (12, 12)]
    assert all(special not in scope for scope in grouped.scopes)
    before = codes[special].copy()
    grouped.rewrite(codes, np.arange(500), np.random.default_rng(0))
    assert (codes[special] == before).all()
    sizes = np.array([p.size for p in own.parameters])[:, None]
    variation, pair = Variation(own), np.arange(500)
    made = variation.children(variation.rows(codes.T), pair, pair[::-1], np.random.default_rng(1))
    assert (made < sizes).all()


def test_spaces_without_lists_rewrite_nothing(space: Space) -> None:
    grouped = families(load("bert"))
    codes = np.zeros((len(grouped.space.parameters), 5), dtype=np.intp)
    grouped.rewrite(codes, np.arange(5), np.random.default_rng(0))
    assert not grouped.lists and (codes == 0).all()


def test_linked_children_take_whole_families_or_sections(space: Space) -> None:
    grouped = families(space)
    take = np.random.default_rng(2).random((len(space.parameters), 4000)) < 0.5
    grouped.link(take, np.random.default_rng(3))
    together = np.stack([take[w].all(axis=0) | ~take[w].any(axis=0) for w in grouped.wholes])
    sections = np.stack(
        [
            take[c].all(axis=0) | ~take[c].any(axis=0)
            for c in ([x for m in s.members for x in m] for s in space.sections)
            if c
        ]
    )
    assert 0.75 < together.all(axis=0).mean() < 0.85
    assert 0.45 < sections.all(axis=0).mean() < 0.55


def test_children_with_more_layers_continue_the_last(space: Space) -> None:
    """A layer more is one like the last, unless it was changed, not the smallest there is."""
    variation = Variation(space)
    large = space.from_unit(np.full((1, len(space.parameters)), 0.999))
    shallow = large.copy()
    shallow[0, column(space, "model.layers")] = 0
    pool = variation.rows(space.canonical(np.concatenate([shallow, large])))
    one, two = np.zeros(2000, np.intp), np.ones(2000, np.intp)
    children = variation.children(pool, one, two, np.random.default_rng(5))
    deep = children[column(space, "model.layers")] == large[0, column(space, "model.layers")]
    wide = (
        children[column(space, "model.layer12.hidden")]
        == large[0, column(space, "model.layer12.hidden")]
    )
    assert deep.sum() > 200 and wide[deep].mean() > 0.8


def test_settings_are_changed_more_often_than_choices_of_layers(space: Space) -> None:
    """Of one choice made 144 times, each is changed a quarter as often as a setting."""
    variation = Variation(space)
    table, (count,) = variation._actives
    often = np.bincount(table[0, :count], minlength=len(space.parameters))
    several = np.concatenate(variation.families.wholes)
    assert (often[several] == 1).all()
    searched = np.array([p.size > 1 for p in space.parameters])
    assert (np.delete(often, several) == 4 * np.delete(searched, several)).all()
