"""Work of experts, windows, latents and states: closed forms against loops and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import macs, operations
from descriptions import written

import elector
from elector.base.errors import InputError
from elector.base.table import Column
from elector.describe.formats import load_model
from elector.describe.variants import repeats, with_settings
from elector.evaluation.path import evaluate
from elector.operations.experts import chances, touched
from elector.operations.roles import ROUTED, Role

SMALL = {"model__layers": 4, "model__hidden": 256, "model__vocabulary": 1000}


def routed(tokens: int, experts: int, chosen: int, exponent: float, tries: int = 400) -> float:
    """Experts that get any of so many tokens, each of which draws `chosen` of them."""
    random = np.random.default_rng(1)
    odds = chances(np.array([experts]), np.array([float(chosen)]), np.array([exponent]))[:, 0]
    counts = []
    for _ in range(tries):
        # Systematic sampling: each token takes exactly `chosen`, with the chances given.
        starts = random.random(tokens)
        hit: set[int] = set()
        for start in starts:
            order = random.permutation(experts)
            edges = np.cumsum(odds[order])
            places = np.searchsorted(edges, start + np.arange(chosen), side="right")
            hit.update(order[np.minimum(places, experts - 1)].tolist())
        counts.append(len(hit))
    return float(np.mean(counts))


@pytest.mark.parametrize(("tokens", "experts", "chosen"), [(1, 8, 2), (4, 8, 2), (16, 64, 6)])
@pytest.mark.parametrize("exponent", [0.0, 0.8])
def test_experts_touched_are_those_of_a_sampled_routing(
    tokens: int, experts: int, chosen: int, exponent: float
) -> None:
    numbers = {"experts": experts, "experts_per_token": chosen, "routing": exponent}
    settings = {name: np.array([float(value)]) for name, value in numbers.items()}
    models = with_settings(load_model("mixtral-8x7b"), settings, 1)
    expected = touched(models, 0, np.array([float(tokens)]))[0]
    assert expected == pytest.approx(routed(tokens, experts, chosen, exponent), rel=0.03)


def test_even_routing_is_the_closed_form_and_bounds_every_other() -> None:
    settings = {name: np.full(6, v) for name, v in (("experts", 64.0), ("experts_per_token", 6.0))}
    models = with_settings(load_model("mixtral-8x7b"), settings, 6)
    tokens = np.array([1.0, 2.0, 7.0, 40.0, 1000.0, 1e6])
    even = touched(models, 0, tokens)
    assert even == pytest.approx(64 * (1 - (1 - 6 / 64) ** tokens))
    uneven = with_settings(load_model("mixtral-8x7b"), {**settings, "routing": np.full(6, 1.0)}, 6)
    assert (touched(uneven, 0, tokens) <= even + 1e-9).all()


def test_chances_add_up_and_stay_below_one() -> None:
    experts, chosen = np.array([8.0, 64.0, 4.0]), np.array([2.0, 6.0, 4.0])
    probabilities = chances(experts, chosen, np.array([0.5, 1.2, 3.0]))
    assert probabilities.sum(axis=0) == pytest.approx(chosen)
    assert (probabilities <= 1.0).all() and (np.diff(probabilities, axis=0) <= 1e-12).all()
    alone = chances(experts[:1], chosen[:1], np.array([0.5]))
    assert (alone[:, 0] == probabilities[:8, 0]).all()


@pytest.mark.parametrize("generate", [0, 6])
def test_experts_work_on_the_routed_tokens_only(generate: int) -> None:
    settings = {"batch": 3, "sequence_length": 10, "generate": generate}
    ops = operations("mixtral-8x7b", **settings)
    tokens = 3 * (10 + max(generate - 1, 0))
    work = sum(macs(ops, role=role) for role in ROUTED)
    assert work == pytest.approx(32 * tokens * 2 * 3 * 4096 * 14336, rel=1e-12)
    assert float(ops.macs[0]).is_integer()


def test_weights_of_experts_read_are_those_touched() -> None:
    ops = operations("mixtral-8x7b", batch=4, sequence_length=8, generate=2)
    rows = ops.where(role=Role.EXPERT_IN, phase="decode")
    read = (ops.count * ops.b_bytes)[rows, 0].sum()
    touched_now = 8 * (1 - (1 - 2 / 8) ** 4)
    assert read == pytest.approx(32 * touched_now * 4096 * 14336 * 2)


@pytest.mark.parametrize(
    "model",
    ["mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-20b", "deepseek-v3", "nemotron-h-8b", "gemma-2-9b"],
)
def test_training_takes_three_times_the_forward_products(model: str) -> None:
    settings = {"model__layers": 4, "batch": 2, "sequence_length": 16}
    forward = operations(model, **settings)
    step = operations(model, mode="training", **settings)
    frozen = sum(macs(forward, role=role) for role in ())
    assert step.macs[0] == pytest.approx(3 * (forward.macs[0] - frozen), rel=1e-12)
    assert step.parameters[0] == forward.parameters[0]


@pytest.mark.parametrize("model", ["mistral-7b", "gemma-2-9b", "gpt-oss-20b", "llama-3.1-8b"])
@pytest.mark.parametrize(("prompt", "generate", "window"), [(5, 9, 3), (5, 30, 16), (40, 12, 16)])
def test_decoding_is_the_sum_of_its_tokens(
    model: str, prompt: int, generate: int, window: int
) -> None:
    """Each generated token meets min(keys, window) keys in layers with a window, else all."""
    settings: dict[str, Any] = {"sequence_length": prompt, "generate": generate, "batch": 2}
    own = [bool(block.window) for block in load_model(model).blocks]
    if any(own):
        settings["model__window"] = window
    ops = operations(model, **settings)
    rows = ops.where(phase="decode", role=Role.SCORES)
    work = sum((ops.count * ops.batch * ops.m * ops.k * ops.n)[r, 0] for r in rows)
    expected = 0.0
    for block, narrow in zip(load_model(model).blocks, own, strict=True):
        for keys in range(prompt + 1, prompt + generate):
            seen = min(keys, window) if narrow else keys
            expected += block.repeat * 2 * block.heads * block.head_size * seen
    assert work == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("model", "width"),
    [("llama-3.1-8b", 32 * 2 * 8 * 128), ("deepseek-v3", 61 * 576), ("qwen3-8b", 36 * 2 * 8 * 128)],
)
def test_the_cache_of_a_token(model: str, width: int) -> None:
    cache = [
        operations(model, sequence_length=16, generate=n, batch=3).memory["cache"][0]
        for n in (4, 5)
    ]
    assert cache[1] - cache[0] == 3 * width * 2


def test_a_state_is_constant_in_the_length() -> None:
    kept = [
        operations("nemotron-h-8b", sequence_length=n, generate=4).memory["cache"][0]
        for n in (64, 128)
    ]
    # Only the four attention layers grow.
    assert kept[1] - kept[0] == 64 * 4 * 2 * 8 * 128 * 2
    state = 24 * (128 * 64 * 128 + (128 * 64 + 2 * 8 * 128) * 4) * 2
    assert kept[0] == state + (64 + 3) * 4 * 2 * 8 * 128 * 2


def test_latent_attention_absorbs_when_it_decodes() -> None:
    ops = operations("deepseek-v3", sequence_length=64, generate=9, batch=2)
    layers, heads, keys = 61, 128, sum(range(65, 73))
    prompt = macs(ops, role=Role.SCORES, phase="prefill")
    assert prompt == layers * 2 * heads * 64 * 64 * 192
    assert macs(ops, role=Role.CONTEXT, phase="prefill") == layers * 2 * heads * 64 * 64 * 128
    assert macs(ops, role=Role.SCORES, phase="decode") == layers * 2 * heads * keys * 576
    assert macs(ops, role=Role.CONTEXT, phase="decode") == layers * 2 * heads * keys * 512
    for role, each in ((Role.ABSORBED_QUERY, 128 * 512), (Role.ABSORBED_VALUE, 512 * 128)):
        assert macs(ops, role=role) == layers * 2 * 8 * heads * each
    assert not ops.where(role=Role.KEY_VALUE_UP, phase="decode").size


def test_an_indexer_is_quadratic_and_its_attention_is_not() -> None:
    index = {"model__index_heads": 4, "model__index_head_size": 32, "model__index_top_k": 64}
    plain = {"model__layers": 4, "sequence_length": 512}
    ops = operations("deepseek-v3", **plain, **index)
    assert macs(ops, role=Role.SCORES) == 4 * 128 * 512 * 64 * 192
    assert macs(ops, role=Role.INDEX_SCORES) == 4 * 4 * 512 * 512 * 32
    without = operations("deepseek-v3", **plain)
    more = 4 * (1536 * 4 * 32 + 7168 * 32 + 2 * 32 + 7168 * 4)
    assert ops.parameters[0] - without.parameters[0] == more


def test_scans_are_what_a_recurrence_over_chunks_does() -> None:
    """Mamba-2 in chunks of Q: C B^T, its product with X, states B^T X and their outputs."""
    ops = operations("nemotron-h-8b", sequence_length=256)
    layers, groups, heads, size, state, chunk = 24, 8, 128, 64, 128, 128
    chunks = 256 // chunk
    assert macs(ops, role=Role.STATE_SCORES) == layers * chunks * groups * chunk**2 * state
    assert macs(ops, role=Role.STATE_INSIDE) == layers * chunks * heads * chunk**2 * size
    assert macs(ops, role=Role.STATE_UPDATE) == layers * chunks * heads * chunk * state * size
    once = operations("nemotron-h-8b", sequence_length=8, generate=2)
    (row,) = once.where(role=Role.STATE_UPDATE, phase="decode")
    assert once.m[row, 0] == heads * size * state  # every number of the state, for each token


def test_crossbars_hold_experts() -> None:
    import elector

    chosen = {"model.experts": 4, "model.experts_per_token": 2, "model.layers": 2}
    small = {"model.hidden": 128, "model.vocabulary": 1000}
    digital = {"accelerator.digital_macs": 4096}
    assert elector.simulate("decoder", "reram", settings=chosen | small | digital)["feasible"]
    assert elector.simulate("decoder", "systolic", settings=chosen | small)["feasible"]


# Settings


def test_settings_make_a_mixture_of_a_plain_decoder() -> None:
    ops = operations("decoder", model__experts=4, model__experts_per_token=2, **SMALL)
    plain = operations("decoder", **SMALL)
    router, expert = 256 * 4, 2 * 256 * 1024
    biases = 1024 + 256
    assert ops.parameters[0] - plain.parameters[0] == 4 * (router + 3 * expert - biases)
    chosen = {"model__experts": 4, "model__experts_per_token": 2}
    first = operations("decoder", model__dense_layers=1, **chosen, **SMALL)
    wide = operations("decoder", model__dense_layers=12, **chosen)
    assert wide.parameters[0] == operations("decoder").parameters[0]
    assert first.parameters[0] - plain.parameters[0] == 3 * (router + 3 * expert - biases)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"model__experts": 4}, "model.experts_per_token"),
        ({"model__experts_per_token": 4}, "model.experts"),
        ({"model__shared_experts": 1}, "model.experts"),
        ({"model__kv_lora_rank": 64}, "model.nope_head_size"),
        ({"model__q_lora_rank": 64}, "model.kv_lora_rank"),
        ({"model__index_top_k": 64}, "model.index_heads"),
        ({"model__window": 0}, "model.window"),
        ({"model__pattern": "window full"}, "model.window"),
        ({"model__pattern": "wide"}, "model.pattern"),
        ({"model__pattern": "mamba2 full"}, "model.pattern"),
        ({"model__dense_layers": 1}, "model.experts"),
        ({"model__experts": 2, "model__experts_per_token": 3}, "model.experts_per_token"),
    ],
)
def test_what_is_missing_is_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        operations("decoder", **settings)
    assert caught.value.field == field


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_pattern_leaves_no_layer_empty(mode: str) -> None:
    """Layers of Nemotron-H either mix tokens or have a feed-forward, which stays where it is."""
    with pytest.raises(InputError, match="would be empty") as caught:
        operations("nemotron-h-8b", model__pattern="full feed-forward", mode=mode)
    assert caught.value.field == "model.pattern"
    operations("nemotron-h-8b", model__pattern="full mamba2", model__layers=4, mode=mode)


def test_a_pattern_repeats_over_the_layers() -> None:
    narrow = {"model__window": 8, "model__pattern": "window window full"}
    ops = operations("decoder", sequence_length=64, generate=2, model__layers=7, **narrow)
    rows = ops.where(phase="decode", role=Role.SCORES)
    counts = {float(ops.n[r, 0]): float(ops.count[r, 0]) for r in rows}
    assert counts == {8.0: 5.0, 65.0: 2.0}


def test_repeats_count_the_layers_of_a_pattern() -> None:
    pattern, layers = (0, 0, 1, 0, 1), np.arange(1.0, 20.0)
    for fixed in (0, 2):
        listed = [
            pattern[i] if i < 5 else pattern[fixed + (i - 5) % (5 - fixed)] for i in range(20)
        ]
        for block in (0, 1):
            counted = [listed[: int(n)].count(block) for n in layers]
            assert repeats(pattern, fixed, layers, block).tolist() == counted


def test_a_batch_of_kinds_gives_what_each_gives_alone() -> None:
    from builders import columns

    from elector.evaluation.resolve import resolve
    from elector.operations import build

    wide = {
        "model": "decoder",
        "accelerator": "systolic",
        "model.experts": [None, 4, 8, None],
        "model.experts_per_token": [None, 2, 2, None],
        "model.window": [None, None, 16, 16],
    }
    for group in resolve(columns(4, wide), 4):
        together = build(group.models, group.workload)
        for design, row in enumerate(group.rows):
            own = {k: (v[row] if isinstance(v, list) else v) for k, v in wide.items()}
            own = {k: v for k, v in own.items() if v is not None}
            (alone,) = resolve(columns(1, own), 1)
            single = build(alone.models, alone.workload)
            at = group.pair[design]
            assert single.macs[0] == together.macs[at]
            assert single.parameters[0] == together.parameters[at]


# Indexers on plain attention


def test_an_indexer_on_plain_attention_has_parameters_and_work() -> None:
    """Queries of all heads and one key from the input, a norm of scale and shift, weights."""
    index = {"index_heads": 4, "index_head_size": 64, "index_top_k": 64}
    plain = operations("llama-3.1-8b")
    indexed = operations("llama-3.1-8b", **{f"model__{key}": n for key, n in index.items()})
    width, layers, tokens = 4096, 32, 128
    matrices = width * 4 * 64 + width * 64 + width * 4
    assert indexed.parameters[0] - plain.parameters[0] == layers * (matrices + 2 * 64)
    scores = layers * 4 * tokens * tokens * 64
    assert macs(indexed, role=Role.INDEX_SCORES) == scores
    chosen = layers * 2 * 32 * tokens * (tokens - 64) * 128  # keys that attention leaves out
    assert indexed.macs[0] - plain.macs[0] == layers * tokens * matrices + scores - chosen


MINIMAX_M3 = {
    "architectures": ["MiniMaxM3VLForCausalLM"],
    "model_type": "minimax_m3_vl_text",
    "hidden_size": 252,
    "intermediate_size": 96,
    "dense_intermediate_size": 333,
    "shared_intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 40,
    "vocab_size": 1201,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "rotary_dim": 20,
    "index_n_heads": 3,
    "index_head_dim": 24,
    "index_block_size": 4,
    "index_topk_blocks": 2,
    "layer_types": ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"],
    "mlp_layer_types": ["dense", "sparse", "sparse"],
}


def test_blocks_of_keys_count_what_the_class_does(tmp_path: Path) -> None:
    """Parameters by numel of the class in transformers 5.24; its products at 32 tokens in eager
    mode, with two experts of each token and 8 of the 32 keys that it scores and masks."""
    path = written(tmp_path, MINIMAX_M3)
    ops = operations(path, sequence_length=32)
    assert ops.parameters[0] == 2_301_096
    counted, experts = 42_280_704, 2 * 2 * 3 * 252 * 96 * 32  # which the counter does not see
    masked = 2 * 2 * 6 * 32 * (32 - 8) * 40
    assert ops.macs[0] == counted + experts - masked
    # keys and values of three heads, and the keys of two indexers
    settings = {"workload.generate": 5, "workload.sequence_length": 32}
    cache = elector.simulate(path, "a100-sxm-80gb", settings=settings)["memory_bytes"]["cache"]
    assert cache == (32 + 4) * (3 * 2 * 3 * 40 + 2 * 24) * 2


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"sparse_score_type": "mean"}, "sparse_score_type"),
        ({"sparse_init_block": 1}, "sparse_init_block"),
        ({"sparse_new": 1}, "sparse_new"),
        ({"sparse_disable_index_value": [0, 0, 1]}, "sparse_disable_index_value"),
        ({"sparse_topk_blocks": 0}, "sparse_topk_blocks"),
    ],
)
def test_other_blocks_of_keys_are_refused(
    tmp_path: Path, changed: dict[str, object], part: str
) -> None:
    sparse = {"sparse_attention_freq": [0, 1, 1], "sparse_disable_index_value": [0, 1, 1]}
    file = {k: v for k, v in MINIMAX_M3.items() if k != "layer_types"}
    load_model(written(tmp_path, file | {"sparse_attention_config": sparse}))
    with pytest.raises(InputError, match=part):
        load_model(written(tmp_path, file | {"sparse_attention_config": sparse | changed}))


def test_a_window_of_another_row_is_not_ones_own() -> None:
    """A pattern that needs one is refused with the window's column as without it."""
    rows = {"model": ["llama-2-7b"] * 2, "accelerator": ["a100-sxm-80gb"] * 2}
    table = {
        **{key: Column.of(values) for key, values in rows.items()},
        "model.pattern": Column.of(["window full", None]),
        "model.window": Column.of([None, 64]),
    }
    with pytest.raises(InputError) as caught:
        evaluate(table, 2)
    assert caught.value.field == "model.window"
    table["model.window"] = Column.of([64, None])
    assert np.isfinite(evaluate(table, 2).scalar("latency_s")).all()
