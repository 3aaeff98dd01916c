"""Rows of gpu_engines.csv (engines, language models, power) as settings of this program.

Rows that no setting describes stay out and are counted by `unread`: weights in other formats than
the products' (int8 and int4 weight-only, GGUF), onnxruntime and TGI, which are not modelled.
"""

from __future__ import annotations

from pathlib import Path

import llama_bench
from gpu_rows import BOARDS, Record, Steps, from_records, located, read

#: Layers, hidden ... of a row -> the preset it is, where it is one.
PRESETS = {("12", "768", "30522"): "bert-base", ("24", "1024", "30522"): "bert-large"}
NOT_MODELLED = ("onnxruntime", "tgi", "paddle")
#: MLPerf states no batch of its Offline scenario: a large one.
OFFLINE = 256
#: Metrics of training of a block's code: until its pull request 642 of October 2023 llm-foundry
#: always had Composer compute cross entropy and perplexity of every micro-batch (sweep.sh: v0.0.4).
METRICS = {"mpt-training": 2}
#: Engines whose prompts are answered: words are computed for the last token alone (llama.cpp:
#: inp_out_ids of its pull request 6122; TensorRT-LLM: unless it is built to gather all logits).
ANSWERING = ("llama.cpp", "tensorrt-llm")
#: Tokens of a prompt of which the table says "about" -> as its document counts them (`main` of
#: llama.cpp: "prompt eval time = 93.94 ms / 494 tokens" in LLaMA 2/*/*_v2.ipynb).
COUNTED = {"379": 494}
_FLASH = ("tensorrt", "tensorrt-llm", "vllm", "sglang")


def engines(folder: Path) -> list[Record]:
    """Rows whose formats and stack this program has."""
    return [r for r in read(folder / "gpu_engines.csv") if modelled(r)]


def modelled(r: Record) -> bool:
    """Whether settings describe a row."""
    same = r["weights"] == r["activations"] or not r["weights"]
    return same and r["implementation"] not in NOT_MODELLED


def settings(r: Record) -> dict[str, object]:
    """Model, accelerator and dotted settings of a row."""
    device = BOARDS.get(r["device"], r["device"]).lower().replace(" ", "-")
    training = r["mode"] == "train"
    given: dict[str, object] = {
        **_model(r),
        "accelerator": device,
        "workload.mode": "training" if training else None,
        "workload.batch": int(float(r["batch_per_device"] or OFFLINE)),
        "workload.gradient_accumulation": int(r["grad_accum"]) if training else None,
        "workload.metrics": METRICS.get(r["block"].split(" /")[0]) if training else None,
        "workload.sequence_length": _tokens(r),
        "workload.generate": _generated(r),
        "workload.precision": r["dtype"],
        "workload.implementation": r["implementation"],
        "workload.attention": _attention(r),
        "accelerator.power_limit": f"{r['power_limit_w']} W" if r["power_limit_w"] else None,
    }
    return located(r, {key: value for key, value in given.items() if value is not None})


def _tokens(r: Record) -> int:
    """Tokens of a sequence, or of a prompt."""
    return COUNTED.get(r["seq"], int(r["seq"])) if "approx" in r["flag"] else int(r["seq"])


def _generated(r: Record) -> int | None:
    """Tokens behind the prompt; one where an engine answers a prompt and no more."""
    return int(r["generate"]) or (1 if answered(r) else None)


def answered(r: Record) -> bool:
    """Whether a row is of a prompt alone, of an engine that computes the words behind its end."""
    alone = r["workload"].endswith(("-prefill", "-first-token"))
    return r["implementation"] in ANSWERING and alone


def _model(r: Record) -> dict[str, object]:
    preset = PRESETS.get((r["layers"], r["hidden"], r["vocab"]))
    if preset:
        head = "question-answering" if "squad" in r["workload"] else "pooler"
        return {"model": preset, "model.head": head}
    sizes = {
        "model.layers": r["layers"],
        "model.hidden": r["hidden"],
        "model.heads": r["heads"],
        "model.feed_forward": r["ff"],
        "model.vocabulary": r["vocab"],
    }
    name = r["workload"].lower()
    if name.startswith(("mpt", "gpt-j")):
        # Decoders of their own: plain feed-forward layers, no bias counts for little.
        longest = int(r["seq"]) + (_generated(r) or 0)
        return {"model": "decoder", **sizes, "model.positions": max(longest, 2048)}
    if name.startswith("llama-2-7b"):
        return {"model": "llama-2-7b"}
    return {"model": "llama-2-7b", **sizes, "model.kv_heads": r["kv_heads"]}


def _attention(r: Record) -> str:
    text = r["attention_impl"]
    if r["implementation"] in _FLASH or text.startswith(("flash", "sdpa")):
        return "flash"
    return "unfused"


def seconds(r: Record, prefill: float = 0.0) -> float:
    """Seconds of the whole step a row speaks of, its prompt included.

    prefill : measured seconds of the prompt where the row times the tokens after it alone.
    """
    value, batch = float(r["value"]), float(r["batch_per_device"] or OFFLINE)
    tokens = batch * int(r["generate"] or 0)
    metric = r["metric"]
    if metric == "step_ms":
        return value * 1e-3
    if metric == "sequences_per_s":
        return batch / value
    if metric == "decode_tokens_per_s":
        return prefill + tokens / value
    if metric == "output_tokens_per_s":
        return tokens / value
    micro_batches = int(r["grad_accum"] or 1)
    return micro_batches * batch * _tokens(r) / value  # (prefill_)tokens_per_s(_per_device)


def for_fitting(folder: Path) -> Steps:
    """Rows of whole steps that constants may be fitted on.

    Training of MPT (eight boards exchange weights and gradients), chats whose prompts are not
    stated, MLPerf (variable lengths, batches not stated) and llama.cpp on the boards of
    llama_bench.csv are compared with only.
    """
    rows = [
        r
        for r in engines(folder)
        if r["block"].split(" /")[0]
        in ("tensorrt-bert", "hf-eager-llama", "llama.cpp", "tensorrt-llm")
        and "device-heading" not in r["flag"]
        and "approx" not in r["flag"]
        and not _kept_out(r)
    ]
    prompts = {_prompt(r): seconds(r) for r in rows if r["workload"].endswith("-prefill")}
    measured = [seconds(r, prompts.get(_prompt(r), 0.0)) for r in rows]
    return from_records(rows, [settings(r) for r in rows], measured)


def _kept_out(r: Record) -> bool:
    """Whether a row is of llama.cpp on a board that none of its constants is fitted on."""
    board = str(settings(r)["accelerator"])
    return r["implementation"] == llama_bench.STACK and board in llama_bench.boards()


def _prompt(r: Record) -> tuple[str, ...]:
    """What a prompt and the tokens after it share."""
    keys = ("block", "device", "hidden", "vocab", "seq", "batch_per_device", "dtype")
    return tuple(r[key] for key in (*keys, "attention_impl"))
