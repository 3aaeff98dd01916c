"""Imported models against the reader's numbers: ten models of five families, each way.

    python benchmarks/imports.py              # the class of a config, at its published size
    python benchmarks/imports.py --exports    # and small .pt2 and ONNX files of each

Needs the extra [import]; --exports needs onnxscript, too. Prints multiply-accumulates and
parameters of both, and exits with 1 where they differ.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

import elector
from elector.base.errors import InputError
from elector.describe.formats.described import to_mapping
from elector.describe.imports import import_file

BERT: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 50257,
    "n_positions": 1024,
    "activation_function": "gelu_new",
}
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32000,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
T5: dict[str, Any] = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "vocab_size": 32128,
    "d_kv": 64,
    "relative_attention_num_buckets": 32,
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
}
VIT: dict[str, Any] = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_act": "gelu",
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "id2label": {str(i): str(i) for i in range(1000)},
    "label2id": {str(i): i for i in range(1000)},
}


def _bert(layers: int, hidden: int) -> dict[str, Any]:
    return {
        **BERT,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
    }


def _llama(layers: int, hidden: int, heads: int, kv: int, wide: int) -> dict[str, Any]:
    return {
        **LLAMA,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": wide,
    }


def _t5(layers: int, hidden: int, heads: int, wide: int) -> dict[str, Any]:
    sizes = {"num_layers": layers, "num_decoder_layers": layers, "d_model": hidden}
    return {**T5, **sizes, "num_heads": heads, "d_ff": wide}


def _vit(layers: int, hidden: int) -> dict[str, Any]:
    return {
        **VIT,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
    }


#: name -> config: two or more models of each of five families.
MODELS: dict[str, dict[str, Any]] = {
    "bert-base": _bert(12, 768),
    "bert-large": _bert(24, 1024),
    "gpt2": {**GPT2, "n_layer": 12, "n_embd": 768, "n_head": 12},
    "gpt2-xl": {**GPT2, "n_layer": 48, "n_embd": 1600, "n_head": 25},
    "llama-2-7b": _llama(32, 4096, 32, 32, 11008),
    "llama-grouped": _llama(22, 2048, 32, 4, 5632),
    "t5-small": _t5(6, 512, 8, 2048),
    "t5-base": _t5(12, 768, 12, 3072),
    "vit-base": _vit(12, 768),
    "vit-large": _vit(24, 1024),
}
_DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers")
_WIDTHS = ("vocab_size", "hidden_size", "n_embd", "d_model", "intermediate_size", "d_ff")
SETTINGS = {"workload.batch": 3, "workload.sequence_length": 97}


def main() -> int:
    """Compare them all; 1 where any differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exports", action="store_true")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, config in MODELS.items():
            if asked.only in name:
                wrong += _compared(name, config, Path(folder), "config")
                if asked.exports:
                    short = {key: _smaller(key, value) for key, value in config.items()}
                    wrong += _compared(name, short, Path(folder), "pt2")
                    wrong += _compared(name, short, Path(folder), "onnx")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"largest memory {memory:.2f} GB, {wrong} differ")
    return int(wrong > 0)


def _smaller(key: str, value: Any) -> Any:
    """Two layers of an eighth of the width: files of weights stay small."""
    if key in _DEPTHS:
        return 2
    return value // 8 if key in _WIDTHS else value


def _compared(name: str, config: dict[str, Any], folder: Path, way: str) -> int:
    """One model one way; 1 where the numbers differ."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    file, buffers = (str(path), 0) if way == "config" else _exported(config, path, way)
    if not file:
        return 0
    begun = time.perf_counter()
    try:
        imported = import_file(file)
    except InputError as error:
        print(f"{name:14} {way:6} refused: {error}")
        return 1
    seconds = time.perf_counter() - begun
    listed = folder / f"{name}.{way}.yaml"
    listed.write_text(yaml.safe_dump(to_mapping(imported.model), sort_keys=False))
    one, other = (
        elector.simulate(str(m), "tpu-v4i", settings=SETTINGS if "vit" not in name else BATCH)
        for m in (path, listed)
    )
    # An ONNX file does not tell buffers, such as rotary frequencies, from parameters.
    more = other["parameters"] - one["parameters"]
    equal = one["macs"] == other["macs"] and more in (0, buffers)
    print(
        f"{name:14} {way:6} {'equal ' if equal else 'DIFFER'} {other['macs']:>18,} "
        f"{one['macs']:>18,} {other['parameters']:>14,} {one['parameters']:>14,} {seconds:6.1f} s"
    )
    return int(not equal)


BATCH = {"workload.batch": 3}


def _exported(config: dict[str, Any], path: Path, way: str) -> tuple[str, int]:
    """The model as a .pt2 or an ONNX file, its weights drawn, and the numbers of its buffers.

    No name where PyTorch cannot export it.
    """
    import torch
    import transformers

    cls = getattr(transformers, config["architectures"][0])
    settings = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
    model = cls._from_config(settings, attn_implementation="eager").eval()
    with torch.no_grad():  # weights that are alike would be stored once
        for p in model.parameters():
            p.normal_()
    whole = {"batch": torch.export.Dim("batch", min=2, max=64)}
    length = torch.export.Dim("length", min=2, max=512)
    tokens = torch.zeros(3, 16, dtype=torch.long)
    if config["model_type"] == "vit":
        inputs: dict[str, Any] = {"pixel_values": torch.zeros(3, 3, 224, 224)}
        sides = {0: whole["batch"]}
    else:
        inputs, sides = {"input_ids": tokens}, {0: whole["batch"], 1: length}
    if config["model_type"] == "t5":
        inputs["decoder_input_ids"] = tokens
    shapes: dict[str, Any] = dict.fromkeys(inputs, sides)
    if config["model_type"] == "t5":  # its cache is no tensor, and stays out of the program
        inputs["use_cache"], shapes["use_cache"] = False, None
    file = path.with_suffix(f".{way}")
    model.config.use_cache = False
    try:
        program = torch.export.export(
            model, args=(), kwargs=inputs, dynamic_shapes=shapes, strict=False
        )
        if way == "pt2":
            torch.export.save(program, file)
        else:
            torch.onnx.export(program, f=file, dynamo=True, external_data=False, verbose=False)
    except Exception as error:
        print(f"{path.stem:14} {way:6} PyTorch cannot export it: {str(error).splitlines()[0]}")
        return "", 0
    stored = {name: b for name, b in model.named_buffers() if b.is_floating_point()}
    buffers = sum(b.numel() for name, b in stored.items() if "original" not in name)
    return str(file), buffers if way == "onnx" else 0


if __name__ == "__main__":
    sys.exit(main())
