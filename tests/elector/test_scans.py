"""Scans that are variants of others: decays by channel, fixed decays, a scan beside attention.

Widths are small and odd; what is expected is counted from the definitions of the papers:
Kimi Linear (arXiv 2510.26692), MiniMax-01 (arXiv 2501.08313), Falcon-H1 (arXiv 2507.22448).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import operations
from descriptions import written

from elector.base.errors import InputError
from elector.describe.formats import load_model
from elector.operations import Operations
from elector.operations.roles import Role

DATA = Path(__file__).resolve().parent.parent / "data" / "scan_types.csv"
KINDS = ("falcon_h1", "kimi_linear", "minimax", "olmo_hybrid")
TOKENS = 64


def config(kind: str, **changed: Any) -> dict[str, Any]:
    with DATA.open(encoding="utf-8", newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["model_type"] == kind)
    own: dict[str, Any] = json.loads(row["config"])
    return own | changed


def macs(ops: Operations, role: Role, phase: str = "forward") -> float:
    rows = [r for r in ops.where(role=role, phase=phase) if ops.rows[r].matmul]
    return float((ops.count * ops.batch * ops.m * ops.k * ops.n)[rows].sum())


def of(folder: Path, kind: str, **workload: Any) -> Operations:
    return operations(written(folder, config(kind)), **workload)


def test_lightning_attention_has_keys_of_every_head_and_a_square_state(tmp_path: Path) -> None:
    """2 of 5 layers, 6 heads of 20, one chunk of 64 tokens: Q K^T, its product with V, K^T V."""
    ops = of(tmp_path, "minimax", sequence_length=TOKENS)
    for role in (Role.STATE_SCORES, Role.STATE_INSIDE):
        assert macs(ops, role) == 2 * 6 * TOKENS * TOKENS * 20
    for role in (Role.STATE_UPDATE, Role.STATE_OUTPUT):
        assert macs(ops, role) == 2 * 6 * TOKENS * 20 * 20
    assert macs(ops, Role.STATE_IN) == 2 * TOKENS * 144 * 4 * 120  # queries, keys, values, gate
    assert not ops.where(role=Role.STATE_CONVOLUTION).size


def test_a_decay_of_every_channel_takes_two_low_ranks(tmp_path: Path) -> None:
    """4 of 5 layers, 3 heads of 16: from 16 numbers the decays of 48 channels, and 48 gates."""
    ops = of(tmp_path, "kimi_linear", sequence_length=TOKENS)
    for role in (Role.STATE_STEP, Role.STATE_GATE):
        rows = [r for r in ops.where(role=role) if ops.rows[r].matmul]
        assert (ops.count * ops.m * ops.k * ops.n)[rows].sum() == 4 * TOKENS * 16 * 48
    # queries, keys and values; how strongly each head writes; both ranks
    assert macs(ops, Role.STATE_IN) == 4 * TOKENS * 144 * (3 * 48 + 3 + 2 * 16)


@pytest.mark.parametrize(
    ("kind", "state", "keys"),
    [
        # layers x (state + convolved channels x taps), and numbers of keys and values a token
        ("minimax", 2 * 6 * 20 * 20, 3 * 2 * 3 * 20),
        ("kimi_linear", 4 * (3 * 16 * 16 + 3 * 48 * 4), 48 + 8),
        ("falcon_h1", 5 * (12 * 24 * 16 + (288 + 2 * 16) * 4), 5 * 2 * 3 * 24),
        ("olmo_hybrid", 4 * (6 * 36 * 18 + (216 + 2 * 108) * 4), 2 * 3 * 24),
    ],
)
def test_states_are_constant_and_keys_grow(
    tmp_path: Path, kind: str, state: int, keys: int
) -> None:
    for generated in (2, 5):
        ops = of(tmp_path, kind, sequence_length=8, generate=generated)
        assert ops.memory["cache"][0] == 2 * (state + (8 + generated - 1) * keys)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_training_multiplies_three_times_as_much(tmp_path: Path, kind: str) -> None:
    forward = of(tmp_path, kind, sequence_length=TOKENS).macs[0]
    step = of(tmp_path, kind, sequence_length=TOKENS, mode="training").macs[0]
    assert step == pytest.approx(3 * forward, rel=1e-3)  # experts of whole tokens


@pytest.mark.parametrize("kind", KINDS)
def test_generating_reads_every_weight_of_a_layer_once(tmp_path: Path, kind: str) -> None:
    """The products of a generated token are those of a prompt of one token."""
    one = of(tmp_path, kind, sequence_length=1)
    more = of(tmp_path, kind, sequence_length=8, generate=2)
    for role in (Role.STATE_IN, Role.STATE_OUT, Role.STATE_STEP, Role.STATE_GATE, Role.OUTPUT):
        rows = [r for r in more.where(role=role, phase="decode") if more.rows[r].matmul]
        done = (more.count * more.batch * more.m * more.k * more.n)[rows].sum()
        rows = [r for r in one.where(role=role, phase="forward") if one.rows[r].matmul]
        assert done == (one.count * one.batch * one.m * one.k * one.n)[rows].sum()


def test_attention_and_a_scan_beside_it_are_both_there(tmp_path: Path) -> None:
    ops = of(tmp_path, "falcon_h1", sequence_length=TOKENS)
    assert macs(ops, Role.SCORES) == 5 * 6 * TOKENS * TOKENS * 24
    assert macs(ops, Role.STATE_UPDATE) == 5 * 12 * TOKENS * 16 * 24
    (norm,) = ops.where(role=Role.ATTENTION_NORM)
    assert ops.count[norm, 0] == 5  # both read what one norm leaves
    assert not ops.where(role=Role.STATE_NORM).size
    normed = config("falcon_h1", mamba_rms_norm=True)
    assert operations(written(tmp_path, normed), sequence_length=8).where(role=Role.STATE_NORM).size


@pytest.mark.parametrize(
    ("kind", "changed", "field"),
    [
        ("kimi_linear", {"linear_attn_config": {"use_full_rank_gate": True}}, "linear_attn_config"),
        (
            "kimi_linear",
            {"linear_attn_config": {"full_attn_layers": [1], "kda_layers": [2, 3]}},
            "linear_attn_config.full_attn_layers",
        ),
        ("kimi_linear", {"attn_res_block_size": 12}, "attn_res_block_size"),
        ("minimax", {"shared_intermediate_size": 64}, "shared_intermediate_size"),
        ("minimax", {"layer_types": ["mamba"] * 5}, "layer_types"),
        ("falcon_h1", {"projectors_bias": True}, "projectors_bias"),
        ("falcon_h1", {"mamba_n_heads": 7}, "mamba_n_heads"),
        ("olmo_hybrid", {"linear_key_head_dim": None}, "linear_key_head_dim"),
    ],
)
def test_what_is_not_described_is_refused_by_its_key(
    tmp_path: Path, kind: str, changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError) as refusal:
        load_model(str(written(tmp_path, config(kind) | changed)))
    assert refusal.value.field == field


def test_older_files_of_minimax_list_the_kinds_of_layers_as_numbers(tmp_path: Path) -> None:
    listed = config("minimax") | {"attn_type_list": [1, 0, 0, 1, 0]}
    words = config("minimax") | {
        "layer_types": [("linear" if i in (1, 2, 4) else "full") + "_attention" for i in range(5)]
    }
    counts = [operations(written(tmp_path, c), sequence_length=32) for c in (listed, words)]
    assert np.array_equal(counts[0].macs, counts[1].macs)
    with pytest.raises(InputError, match="attn_type_list"):
        load_model(str(written(tmp_path, words | {"attn_type_list": [0, 1, 1, 0, 1]})))
