"""Operations against independent counts: PyTorch, papers, sums by hand, loops over tokens."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import macs, operations, row_of

DATA = Path(__file__).resolve().parent.parent / "data"


def table(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


FLOPS = table("flop_counts.csv")
PARAMETERS = table("parameter_counts.csv")


def case(row: dict[str, str]) -> str:
    return f"{row['preset']}-{row['head']}"


def counted(row: dict[str, str], **settings: Any) -> float:
    """Our multiply-accumulates of the step PyTorch counted: every position is predicted."""
    sizes: dict[str, Any] = {"batch": int(row["batch"])}
    if row["preset"] != "vit-base":
        length = int(row["sequence_length"])
        sizes |= {"sequence_length": length, "predictions": length}
    ops = operations(row["preset"], model__head=row["head"], **sizes, **settings)
    return float(ops.macs[0])


def flops(preset: str, head: str) -> dict[str, str]:
    return next(r for r in FLOPS if (r["preset"], r["head"]) == (preset, head))


# ---- parameters and products, against Hugging Face and PyTorch's flop counter ----


@pytest.mark.parametrize("row", PARAMETERS, ids=case)
def test_parameters_equal_hugging_face(row: dict[str, str]) -> None:
    ops = operations(row["preset"], model__head=row["head"])
    assert ops.parameters[0] == int(row["parameters"])


@pytest.mark.parametrize("row", FLOPS, ids=case)
def test_forward_products_equal_pytorch(row: dict[str, str]) -> None:
    assert counted(row) == int(row["forward_macs"])


@pytest.mark.parametrize("row", FLOPS, ids=case)
def test_training_products_equal_pytorch(row: dict[str, str]) -> None:
    assert counted(row, mode="training") == int(row["training_macs"])


@pytest.mark.parametrize("row", FLOPS, ids=case)
def test_training_is_three_times_forward(row: dict[str, str]) -> None:
    """An image needs no gradient, so ViT saves the input gradient of its patch projection."""
    patches = int(row["batch"]) * 196 * 768 * 768 if row["preset"] == "vit-base" else 0
    assert counted(row, mode="training") == 3 * counted(row) - patches


def test_masked_positions_follow_bert_pretraining() -> None:
    """In training only the masked positions see the vocabulary: 20 of 128, 80 of 512."""
    for length, masked in ((128, 20), (512, 80)):
        sizes = {"batch": 3, "sequence_length": length, "mode": "training"}
        body = operations("bert-base", model__head="none", **sizes).macs[0]
        head = operations("bert-base", model__head="masked-lm", **sizes).macs[0] - body
        assert head == 3 * 3 * masked * (768 * 768 + 768 * 30522)


@pytest.mark.parametrize("predictions", [0, 20])
def test_a_masked_lm_head_sees_every_position_in_inference(predictions: int) -> None:
    """BertForMaskedLM of Hugging Face: 14.250 G, whatever training would predict."""
    ops = operations("bert-base", model__head="masked-lm", predictions=predictions)
    layers = 12 * (4 * 128 * 768**2 + 2 * 128 * 128 * 768 + 2 * 128 * 768 * 3072)
    assert ops.macs[0] == layers + 128 * (768 * 768 + 768 * 30522) == 14_249_558_016
    row = flops("bert-base", "masked-lm")
    sizes = {"batch": int(row["batch"]), "sequence_length": int(row["sequence_length"])}
    batched = operations("bert-base", model__head="masked-lm", predictions=predictions, **sizes)
    assert batched.macs[0] == int(row["forward_macs"])


#: Three layers of 64 with 4 heads and 160 inner units, vocabulary 1,000, two sequences of 32:
#: PyTorch 2.13 FlopCounterMode / 2 on transformers 5.23 BertFor..., eager attention, backward from
#: the sum of the outputs; heads: only the head requires gradients; lora:8: also pairs
#: of rank 8 beside query and value, everything else frozen.
SUBSETS = [
    ("classifier", "all", 7872768, 23618304, 214114, 214114),
    ("classifier", "heads", 7872768, 7881472, 214114, 4290),
    ("classifier", "lora:8", 8265984, 16737024, 220258, 10434),
    ("question-answering", "all", 7872512, 23617536, 209954, 209954),
    ("question-answering", "heads", 7872512, 7880704, 209954, 130),
    ("question-answering", "lora:8", 8265728, 16736256, 216098, 6274),
    ("masked-lm", "all", 12222464, 36667392, 215112, 215112),
    ("masked-lm", "heads", 12222464, 16580608, 215112, 5288),
    ("masked-lm", "lora:8", 12615680, 25690112, 221256, 11432),
]
SMALL = {
    "model__layers": 3,
    "model__hidden": 64,
    "model__heads": 4,
    "model__feed_forward": 160,
    "model__vocabulary": 1000,
    "batch": 2,
    "sequence_length": 32,
    "predictions": 32,
}


@pytest.mark.parametrize(("head", "subset", "forward", "training", "stored", "trains"), SUBSETS)
def test_trainable_subsets_equal_pytorch(
    head: str, subset: str, forward: int, training: int, stored: int, trains: int
) -> None:
    inference = operations("encoder", model__head=head, trainable=subset, **SMALL)
    step = operations("encoder", model__head=head, trainable=subset, mode="training", **SMALL)
    assert (inference.macs[0], step.macs[0], step.parameters[0]) == (forward, training, stored)
    assert step.memory["gradients"][0] == 4 * trains  # fp32, as mixed precision keeps them
    # Two bytes of each weight in use, and a master copy of what trains alone.
    assert step.memory["weights"][0] == 2 * stored + 4 * trains
    assert step.memory["optimizer"][0] == 2 * 4 * trains


def test_low_rank_backward_by_hand() -> None:
    """Of three layers the lowest passes no gradient on, and its keys need none at all."""
    ops = operations(
        "encoder", model__head="classifier", trainable="lora:8", mode="training", **SMALL
    )
    d, f, rank, tokens, layers, scores = 64, 160, 8, 64, 3, 2 * 4 * 32 * 32 * 16
    dense = layers * (tokens * d * d + 2 * tokens * d * f)  # output projection, feed-forward
    inputs = (layers - 1) * 3 * tokens * d * d  # query, key, value
    attention = layers * 3 * scores + (layers - 1) * scores  # dP, dV, dQ and dK
    pairs = layers * 2 * (2 * tokens * d * rank + tokens * rank * d)  # dA, dB, and dy B^T
    pairs += (layers - 1) * 2 * tokens * d * rank  # dx of A
    head = 2 * 2 * (d * d + d * 2)
    assert macs(ops, phase="backward") == dense + inputs + attention + pairs + head


def test_frozen_layers_leave_no_trace_in_backward_and_update() -> None:
    ops = operations(
        "encoder", model__head="classifier", trainable="heads", mode="training", **SMALL
    )
    rows = [row for row in ops.rows if row.phase in ("backward", "update")]
    assert {row.layer for row in rows} == {"head", "parameters"}
    assert {row.name for row in rows if row.layer == "parameters"} == {"weight cast"}
    head = sum(ops.m[r, 0] for r in ops.where(phase="update", kind="optimizer"))
    assert ops.m[row_of(ops, "weight cast"), 0] == head  # what is frozen is not cast again
    low = operations("encoder", model__head="none", trainable="lora:8", mode="training", **SMALL)
    assert not [r.name for r in low.rows if r.phase == "backward" and "embedding" in r.layer]
    assert not [r.name for r in low.rows if r.phase == "backward" and "bias" in r.name]
    updated = [r for r in low.rows if r.phase == "update" and r.kind == "optimizer"]
    assert updated and all("low-rank" in r.name for r in updated)


def test_low_rank_backward_of_layers_that_differ(tmp_path: Path) -> None:
    """A FlexiBERT dictionary with a block for each layer counts like layers of one block."""
    widths = (512, 1024, 256)
    path = tmp_path / "differ.json"
    path.write_text(
        json.dumps(
            {
                "l": 3,
                "o": [["sa_sdp_64"] * 2] * 3,
                "h": [128] * 3,
                "f": [[f] for f in widths],
            }
        )
    )
    step = operations(
        str(path),
        model__head="none",
        trainable="lora:4",
        mode="training",
        batch=2,
        sequence_length=32,
    )
    d, rank, tokens, scores = 128, 4, 64, 2 * 2 * 32 * 32 * 64
    expected = sum(tokens * d * d + 2 * tokens * d * f for f in widths)
    expected += 2 * 3 * tokens * d * d + 3 * 3 * scores + 2 * scores
    expected += 3 * scores  # queries times relative positions, whose table is frozen
    expected += 3 * 2 * (2 * tokens * d * rank + tokens * rank * d) + 2 * 2 * tokens * d * rank
    assert macs(step, phase="backward") == expected


# ---- recomputation ----

BODIES = [r for r in FLOPS if r["head"] == "none"]


@pytest.mark.parametrize("row", BODIES, ids=case)
def test_recompute_adds_one_forward_of_the_layers(row: dict[str, str]) -> None:
    again = int(row["forward_macs"])
    if row["preset"] == "vit-base":
        again -= int(row["batch"]) * 196 * 768 * 768
    extra = counted(row, mode="training", activations="recompute") - int(row["training_macs"])
    assert extra == again


@pytest.mark.parametrize("preset", ["bert-base", "gpt2", "llama-2-7b", "t5-base", "vit-base"])
def test_selective_and_flash_compute_scores_again(preset: str) -> None:
    """Flash: backward of attention 2.5 times its forward; eager: twice."""
    row = flops(preset, "none")
    length, layers, width = {
        "bert-base": (128, 12, 768),
        "gpt2": (128, 12, 768),
        "llama-2-7b": (128, 32, 4096),
        "t5-base": (128, 36, 768),
        "vit-base": (197, 12, 768),
    }[preset]  # T5: encoder, decoder and cross attention
    scores = 2 * length * length * width * layers
    selective = counted(row, mode="training", activations="selective")
    flash = counted(row, mode="training", attention="flash")
    assert selective - int(row["training_macs"]) == scores
    assert flash - int(row["training_macs"]) == scores
    sizes = {} if preset == "vit-base" else {"sequence_length": 128}
    ops = operations(
        preset, model__head="none", mode="training", attention="flash", batch=2, **sizes
    )
    assert macs(ops, phase="forward", kind="attention") == 2 * scores
    assert macs(ops, phase="backward", kind="attention") == 2.5 * 2 * scores


def test_flash_computes_the_softmax_again_and_moves_no_scores() -> None:
    ops = operations("bert-base", mode="training", attention="flash", sequence_length=512)
    elements = 12 * 512 * 512
    again = row_of(ops, "softmax again")
    assert ops.m[again, 0] == elements and ops.rows[again].special > 0
    for r, row in enumerate(ops.rows):
        if row.in_attention and ops.m[r, 0] == elements and not row.matmul:
            assert {row.a, row.b, row.out} == {"none"}, row.name


# ---- memory ----


def korthikanti(tokens: float, hidden: float, scores: float) -> float:
    """Bytes a layer saves in 16 bits, feed-forward of 4 hidden: 34 s b h + 5 a s^2 b."""
    return 34 * tokens * hidden + 5 * scores


@pytest.mark.parametrize(
    ("model", "layers", "hidden", "heads"),
    [
        ("bert-base", 12, 768, 12),
        ("bert-large", 24, 1024, 16),
        ("gpt2", 12, 768, 12),
        ("gpt2-xl", 48, 1600, 25),
    ],
)
@pytest.mark.parametrize(("batch", "length"), [(1, 64), (3, 200)])
def test_saved_activations_equal_the_paper(
    model: str, layers: int, hidden: int, heads: int, batch: int, length: int
) -> None:
    """Korthikanti et al. 2022 (arXiv 2205.05198), equation 2, and what we keep beside it:

    BERT: the sum of the embeddings in front of its norm (2 bytes) and its dropout mask (1).
    GPT-2: that mask, and the input of the final norm (2).
    """
    sizes = {"model__head": "none", "mode": "training", "batch": batch, "sequence_length": length}
    tokens, scores = batch * length, batch * heads * length * length
    layer, extra = korthikanti(tokens, hidden, scores), 3 * tokens * hidden

    def saved(**settings: str) -> float:
        return float(operations(model, **sizes, **settings).memory["activations"][0])

    assert saved() == layers * layer + extra
    linear = korthikanti(tokens, hidden, 0)
    assert saved(activations="selective") == layers * linear + extra
    assert saved(attention="flash") == layers * linear + extra
    # The input of each layer, and what else one layer keeps while it is computed again from
    # that input.
    again = layer - 2 * tokens * hidden
    assert saved(activations="recompute") == layers * 2 * tokens * hidden + again + extra


def test_heads_save_their_inputs_and_outputs() -> None:
    """Pooler: the first tokens and the result. Vocabulary: its input and the probabilities."""
    sizes = {"mode": "training", "batch": 5, "sequence_length": 64}
    for policy in ("store", "recompute"):
        for model, head, extra in (
            ("bert-base", "pooler", 2 * 2 * 5 * 768),
            ("gpt2", "causal-lm", 2 * 5 * 64 * (768 + 50257)),
        ):
            with_head = operations(model, model__head=head, activations=policy, **sizes)
            without = operations(model, model__head="none", activations=policy, **sizes)
            more = with_head.memory["activations"] - without.memory["activations"]
            assert more[0] == extra


@pytest.mark.parametrize("model", ["gpt2", "llama-2-7b", "mistral-7b"])
@pytest.mark.parametrize("settings", [{}, {"attention": "flash"}, {"activations": "selective"}])
def test_what_is_saved_is_what_the_forward_pass_writes(
    model: str, settings: dict[str, str]
) -> None:
    """Two ways through the code: bytes noted for the backward pass, and outputs of that class."""
    ops = operations(model, mode="training", batch=2, sequence_length=64, **settings)
    rows = [r for r in ops.where(phase="forward") if ops.rows[r].out == "saved"]
    written = sum(ops.out_bytes[r, 0] * ops.count[r, 0] for r in rows)
    assert written == ops.memory["activations"][0]


@pytest.mark.parametrize(
    ("precision", "datapath", "weights", "gradients", "states"),
    [
        ("fp32", "fp32", 4, 4, 8),
        ("bf16", "bf16", 2, 2, 4),
        ("fp16-amp", "fp16", 6, 4, 8),
        ("bf16-amp", "bf16", 6, 4, 8),
    ],
)
def test_bytes_of_weights_gradients_and_states(
    precision: str, datapath: str, weights: int, gradients: int, states: int
) -> None:
    """Mixed precision: 4 bytes of master weight and 2 of its cast, 4 of gradient, 8 of Adam."""
    sizes = {"precision": precision, "accelerator__datapath": datapath}
    memory = operations("bert-base", mode="training", **sizes).memory
    per_parameter = [memory[name][0] / 109482240 for name in ("weights", "gradients", "optimizer")]
    assert per_parameter == [weights, gradients, states]
    inference = operations("bert-base", **sizes).memory
    # Mixed precision casts its fp32 weights in every pass, so both stay.
    assert inference["weights"][0] == 109482240 * weights
    assert inference["gradients"][0] == inference["optimizer"][0] == 0


@pytest.mark.parametrize(
    ("optimizer", "states"),
    [
        ("sgd", 0),
        ("momentum", 1),
        ("adam", 2),
        ("adamw", 2),
        ("lamb", 2),
    ],
)
def test_update_traffic_by_hand(optimizer: str, states: int) -> None:
    """Mixed precision: read weight, gradient and states in fp32, write weight and states."""
    ops = operations("bert-tiny", mode="training", precision="bf16-amp", optimizer=optimizer)
    rows, cast = ops.where(kind="optimizer"), row_of(ops, "weight cast")
    read = sum((ops.a_bytes + ops.b_bytes)[r, 0] * ops.count[r, 0] for r in rows)
    written = sum(ops.out_bytes[r, 0] * ops.count[r, 0] for r in rows)
    assert (read, written) == (4385920 * (8 + 4 * states), 4385920 * (4 + 4 * states))
    assert (ops.a_bytes[cast, 0], ops.out_bytes[cast, 0]) == (4385920 * 4, 4385920 * 2)
    assert ops.memory["optimizer"][0] == 4385920 * 4 * states


def test_gradient_accumulation_repeats_the_passes_and_not_the_update() -> None:
    one = operations("bert-tiny", mode="training", batch=4)
    four = operations("bert-tiny", mode="training", batch=4, gradient_accumulation=4)
    assert four.macs[0] == 4 * one.macs[0]
    for name, values in one.memory.items():
        assert four.memory[name][0] == values[0], name
    # Weights are cast from their master copy for each pass.
    same = {r.name for r in one.rows if r.phase == "update"} - {"weight cast"}
    for row in one.rows:
        there = row_of(one, row.name, phase=row.phase, layer=row.layer)
        here = row_of(four, row.name, phase=row.phase, layer=row.layer)
        repeats = 1 if row.name in same else 4
        assert four.count[here, 0] == repeats * one.count[there, 0], row.name
    added = row_of(four, "gradient accumulation")
    assert four.count[added, 0] == 3 and four.m[added, 0] == 4385920


# ---- vector work ----


def test_exponentials_and_roots_by_hand() -> None:
    """One for each score, each unit of the feed-forward layer (erf) and the pooler (tanh)."""
    tokens, scores = 3 * 100, 3 * 12 * 100 * 100
    ops = operations("bert-base", batch=3, sequence_length=100)
    special = sum(
        row.special * ops.m[r, 0] * ops.count[r, 0]
        for r, row in enumerate(ops.rows)
        if not row.matmul
    )
    assert special == 12 * (scores + 4 * 768 * tokens) + 3 * 768
    llama = operations("llama-2-7b", batch=1, sequence_length=16)
    special = sum(
        row.special * llama.m[r, 0] * llama.count[r, 0]
        for r, row in enumerate(llama.rows)
        if not row.matmul
    )
    assert special == 32 * (32 * 16 * 16 + 2 * 16 * 11008)  # SiLU: exponential and division


def test_vector_rows_cover_every_element_of_a_layer() -> None:
    """BERT, forward: what each kind of row passes over, in elements of a layer."""
    tokens, scores = 5 * 64, 5 * 12 * 64 * 64
    ops = operations("bert-base", batch=5, sequence_length=64, mode="training")
    elements: dict[str, float] = {}
    for r in ops.where(phase="forward", layer="layers", matmul=False):
        name = ops.rows[r].name
        elements[name] = elements.get(name, 0) + ops.m[r, 0] * ops.count[r, 0] / 12
    assert elements == {
        "query, key, value bias": 3 * tokens * 768,
        "softmax": scores,
        "probabilities dropout": scores,
        "attention dropout": tokens * 768,
        "attention residual": tokens * 768,
        "attention norm": tokens * 768,
        "feed-forward gelu": tokens * 3072,
        "feed-forward dropout": tokens * 768,
        "feed-forward residual": tokens * 768,
        "feed-forward norm": tokens * 768,
    }
    backward = {ops.rows[r].name for r in ops.where(phase="backward", layer="layers", matmul=False)}
    assert backward == {f"{name} gradient" for name in elements}


# ---- generation ----


def totals(model: str, phase: str, **settings: Any) -> dict[str, np.ndarray]:
    """Name of a row -> products, elements and bytes over all its runs."""
    ops, sums = operations(model, **settings), {}
    for r in ops.where(phase=phase):
        sizes = [x[r, 0] for x in (ops.batch, ops.m, ops.k, ops.n)]
        each = [np.prod(sizes), ops.a_bytes[r, 0], ops.b_bytes[r, 0], ops.out_bytes[r, 0]]
        name = ops.rows[r].name
        sums[name] = sums.get(name, 0.0) + ops.count[r, 0] * np.array(each)
    return sums


@pytest.mark.parametrize("model", ["gpt2", "mistral-7b"])
def test_generation_is_the_sum_of_its_tokens(model: str) -> None:
    """The closed form over the token index against one step for each token."""
    prompt, tokens, batch = 37, 24, 3
    whole = totals(model, "decode", batch=batch, sequence_length=prompt, generate=tokens)
    steps = [
        totals(model, "decode", batch=batch, sequence_length=prompt + i, generate=2)
        for i in range(tokens - 1)
    ]
    assert set(whole) == set(steps[0])
    for name, values in whole.items():
        np.testing.assert_allclose(values, sum(s[name] for s in steps), rtol=1e-14, err_msg=name)


def test_a_generated_token_by_hand() -> None:
    """GPT-2: 12 layers of 768; the i-th token after the first attends to prompt + i."""
    prompt, tokens, batch = 10, 7, 2
    expected = 0
    for i in range(1, tokens):
        layer = 4 * 768 * 768 + 2 * 768 * 3072 + 2 * (prompt + i) * 768
        expected += batch * (12 * layer + 768 * 50257)
    ops = operations("gpt2", batch=batch, sequence_length=prompt, generate=tokens)
    assert macs(ops, phase="decode") == expected
    # The prompt: every token passes the layers, the last one the vocabulary.
    layer = prompt * (4 * 768 * 768 + 2 * 768 * 3072) + 2 * prompt * prompt * 768
    assert macs(ops, phase="prefill") == batch * (12 * layer + 768 * 50257)
    # Keys and values of all but the last token, in bf16.
    assert ops.memory["cache"][0] == 12 * 2 * batch * (prompt + tokens - 1) * 768 * 2


def test_t5_generation_by_hand() -> None:
    """Cross keys and values are computed once; the decoder starts from one token."""
    source, tokens, batch = 20, 9, 2
    ops = operations("t5-base", batch=batch, sequence_length=source, generate=tokens)
    expected, elements = 0, 0
    for i in range(1, tokens):
        own = 4 * 768 * 768 + 2 * 768 * (1 + i)
        cross = 2 * 768 * 768 + 2 * 768 * source
        expected += batch * (12 * (own + cross + 2 * 768 * 3072) + 768 * 32128)
        elements += batch * 768 * (3 * 12 + 1)  # norms: three in a layer, one after the last
    assert macs(ops, phase="decode") == expected
    norms = ops.where(phase="decode", kind="norm")
    assert sum(ops.count[r, 0] * ops.m[r, 0] for r in norms) == elements
    kept = batch * 12 * 2 * 768 * 2 * (tokens + source)
    assert ops.memory["cache"][0] == kept


def test_a_window_bounds_what_a_token_attends_to(tmp_path: Path) -> None:
    """Mistral's rolling cache (arXiv 2310.06825): min(position, window) keys."""
    path = tmp_path / "windowed.yaml"
    path.write_text("base: mistral-7b\nlayers: 2\nwindow: 16\n")
    for prompt in (4, 15, 16, 40):
        ops = operations(str(path), sequence_length=prompt, generate=30)
        keys = sum(min(prompt + i, 16) for i in range(1, 30))
        assert macs(ops, phase="decode", kind="attention") == 2 * 2 * 4096 * keys
        assert ops.memory["cache"][0] == 2 * 2 * min(prompt + 29, 16) * 1024 * 2


def test_grouped_queries_share_keys() -> None:
    """Mistral: 32 query heads, 8 of keys and values; the products are those of 32 heads."""
    ops = operations("mistral-7b", sequence_length=128, batch=2)
    for name in ("scores", "context"):
        r = row_of(ops, name)
        assert ops.batch[r, 0] * ops.m[r, 0] * ops.k[r, 0] * ops.n[r, 0] == 2 * 32 * 128 * 128 * 128
        assert ops.b_bytes[r, 0] == 2 * 2 * 8 * 128 * 128
    token = operations("mistral-7b", sequence_length=127, batch=2, generate=2)
    r = row_of(token, "scores", phase="decode")
    assert token.b_bytes[r, 0] == 2 * 2 * 8 * 128 * 128  # the whole cache of keys, once
