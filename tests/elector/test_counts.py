"""Parameters and multiply-accumulates against PyTorch and Hugging Face, exactly.

The tables are written by benchmarks/count_flops.py.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import elector

DATA = Path(__file__).resolve().parent.parent / "data"
#: A machine that holds every one of them; what it costs does not matter here.
ROOMY: dict[str, object] = {"accelerator.memory_capacity": "10 TB"}


def table(name: str) -> list[dict[str, str]]:
    """Rows of one table."""
    with (DATA / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def case(row: dict[str, str]) -> str:
    """Name of a row's test."""
    return f"{row['preset']}-{row['head']}"


@pytest.mark.parametrize("row", table("parameter_counts.csv"), ids=case)
def test_parameters_are_those_of_the_class(row: dict[str, str]) -> None:
    result = elector.simulate(
        row["preset"], "systolic", settings=ROOMY | {"model.head": row["head"]}
    )
    assert result["parameters"] == int(row["parameters"])


@pytest.mark.parametrize("row", table("flop_counts.csv"), ids=case)
def test_multiplications_are_those_that_pytorch_counts(row: dict[str, str]) -> None:
    settings = ROOMY | {
        "model.head": row["head"],
        "workload.batch": int(row["batch"]),
        "workload.sequence_length": 128,
        "workload.predictions": 128,  # the class predicts every position
    }
    forward = elector.simulate(row["preset"], "systolic", settings=settings)
    assert forward["macs"] == int(row["forward_macs"])
    settings["workload.mode"] = "training"
    training = elector.simulate(row["preset"], "systolic", settings=settings)
    assert training["macs"] == int(row["training_macs"])
    if row["preset"] != "vit-base":
        assert training["macs"] == 3 * int(row["forward_macs"])


ROBERTA = {
    "model_type": "roberta",
    "vocab_size": 50265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}
DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": 30522,
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "tie_word_embeddings": True,
    "attention_bias": True,
    "mlp_bias": True,
}


# Counted with the classes of transformers 5.23.0 on the meta device.
@pytest.mark.parametrize(
    ("config", "architecture", "parameters"),
    [
        (ROBERTA, "RobertaModel", 124_645_632),
        (ROBERTA, "RobertaForMaskedLM", 124_697_433),
        (ROBERTA, "RobertaForSequenceClassification", 124_647_170),
        (ROBERTA, "RobertaForQuestionAnswering", 124_056_578),
        (DISTILBERT, "DistilBertModel", 66_362_880),
        (DISTILBERT, "DistilBertForMaskedLM", 66_985_530),
        (DISTILBERT, "DistilBertForSequenceClassification", 66_955_010),
        (DISTILBERT, "DistilBertForQuestionAnswering", 66_364_418),
        (LLAMA, "LlamaForCausalLM", 1_236_191_232),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_of_a_configuration(
    tmp_path: Path, config: dict[str, Any], architecture: str, parameters: int
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config | {"architectures": [architecture]}))
    result = elector.simulate(str(path), "systolic", settings=ROOMY)
    assert result["parameters"] == parameters


@pytest.mark.parametrize(("preset", "extra"), [("gpt2", 768 * 2), ("llama-2-7b", 4096 * 2)])
def test_a_decoder_is_classified_by_one_projection(preset: str, extra: int) -> None:
    """GPT2ForSequenceClassification and its Llama counterpart: `score` alone, without bias."""
    body = elector.simulate(preset, "systolic", settings={**ROOMY, "model.head": "none"})
    result = elector.simulate(preset, "systolic", settings={**ROOMY, "model.head": "classifier"})
    assert result["parameters"] == int(str(body["parameters"])) + extra
