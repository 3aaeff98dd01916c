"""Llama-2-7B with what its file says of stored weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import elector

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
MATRICES = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
ATTENTION = 32 * 4 * 4096**2
REST = 2 * 32000 * 4096 + (2 * 32 + 1) * 4096


def weights(
    folder: Path, stored: dict[str, Any], of: dict[str, Any] = LLAMA, **settings: str
) -> tuple[float, list[str]]:
    """Bytes of weights of Llama-2-7B, or another model, and what is said."""
    file = folder / "config.json"
    file.write_text(json.dumps(of | {"quantization_config": stored}))
    result = elector.simulate(
        file,
        "a100-sxm-80gb",
        settings={"workload.precision": "fp16"} | {f"workload.{k}": v for k, v in settings.items()},
    )
    memory, notes = result["memory_bytes"], result["notes"]
    assert isinstance(memory, dict) and isinstance(notes, list)
    return memory["weights"], notes
