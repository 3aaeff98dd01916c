"""Descriptions of models as people have them, and what reading a bad one must do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elector.base.errors import InputError
from elector.describe.formats import load_model

BERT = {
    "architectures": ["BertForMaskedLM"],
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "position_embedding_type": "absolute",
    "layer_norm_eps": 1e-12,
    "use_cache": True,
}
GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 50257,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 1024,
    "n_inner": None,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.1,
}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    "tie_word_embeddings": False,
}
MISTRAL = LLAMA | {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "sliding_window": 4096,
}
T5 = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "is_encoder_decoder": True,
    "vocab_size": 32128,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_heads": 12,
    "relative_attention_num_buckets": 32,
    "dropout_rate": 0.1,
}
VIT = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "id2label": {str(i): f"LABEL_{i}" for i in range(1000)},
}
FLEXIBERT = {
    "l": 3,
    "o": [
        ["sa_sdp_64", "sa_wma_64"],
        ["sa_sdp_64", "sa_wma_64"],
        ["l_dft_21", "l_dct_21", "c_5_21", "c_9_21", "c_13_21", "c_13_21"],
    ],
    "h": [128, 128, 128],
    "f": [[512], [512], [1024, 2048]],
}


def written(folder: Path, data: Any, name: str = "model.json") -> str:
    """The path of a file that holds `data`."""
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return str(path)


def refused(folder: Path, data: Any, *parts: str, name: str = "model.json") -> None:
    """Loading the file names it and says every one of `parts`."""
    path = written(folder, data, name)
    with pytest.raises(InputError) as caught:
        load_model(path)
    for part in (path, *parts):
        assert part in str(caught.value)
