"""Independent counts of parameters and matrix multiplications: PyTorch and Hugging Face.

Builds the architectures of our presets from the classes of `transformers`, on the meta
device (no weights, no memory), and counts

- parameters, tied ones once;
- multiply-accumulates of every matrix product and convolution, with
  `torch.utils.flop_counter.FlopCounterMode` (floating-point operations / 2), in eager
  attention, forward and forward + backward.

The sizes are written out here from the published configurations rather than read from our
own model files, so that a slip in those is found. Run where torch and transformers are
installed (they are no dependency of this project):

    python benchmarks/count_flops.py --out tests/data

writes parameter_counts.csv and flop_counts.csv, which the tests read. What is counted:
two sequences of 128 tokens (an encoder-decoder: 128 source and 128 target tokens; ViT: its
197 patches); heads that see tokens see all of them (masked-LM included); the backward pass
starts from the sum of the outputs, so no loss is counted. Left out: the product of
frequencies and positions in a rotary embedding, which makes a table of angles and has no
weight and no gradient.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH, LENGTH = 2, 128


@dataclass(frozen=True)
class Case:
    """One architecture: our preset's name, our head's name, and the class that is counted.

    options : keyword arguments of the class.
    sizes : keyword arguments of its configuration.
    source : where the sizes come from.
    """

    preset: str
    head: str
    hf_class: str
    config_class: str
    options: dict[str, Any]
    sizes: dict[str, Any]
    source: str


def bert_sizes(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    """Sizes of a BERT of the published family."""
    return {
        "vocab_size": 30522,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }


def gpt2_sizes(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    """Sizes of a GPT-2 of the published family."""
    return {"n_layer": layers, "n_embd": hidden, "n_head": heads, "n_positions": 1024}


LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
}
MISTRAL = LLAMA | {"num_key_value_heads": 8, "intermediate_size": 14336, "sliding_window": 4096}
T5 = {
    "vocab_size": 32128,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_decoder_layers": 12,
    "num_heads": 12,
    "relative_attention_num_buckets": 32,
    "feed_forward_proj": "relu",
}
VIT = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 16,
    "num_labels": 1000,
}
BERTS = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
GPT2S = {
    "gpt2": (12, 768, 12),
    "gpt2-medium": (24, 1024, 16),
    "gpt2-large": (36, 1280, 20),
    "gpt2-xl": (48, 1600, 25),
}


def cases() -> Iterator[Case]:
    """Every architecture and head that is counted."""
    for size, shape in BERTS.items():
        source = (
            "Devlin et al. 2019 (doi 10.18653/v1/N19-1423)"
            if size in ("base", "large")
            else "Turc et al. 2019 (arXiv 1908.08962)"
        )
        for head, name, options in (
            ("none", "BertModel", {"add_pooling_layer": False}),
            ("pooler", "BertModel", {}),
            ("classifier", "BertForSequenceClassification", {}),
            ("question-answering", "BertForQuestionAnswering", {}),
            ("masked-lm", "BertForMaskedLM", {}),
        ):
            yield Case(
                f"bert-{size}", head, name, "BertConfig", options, bert_sizes(*shape), source
            )
    for preset, shape in GPT2S.items():
        for head, name in (("none", "GPT2Model"), ("causal-lm", "GPT2LMHeadModel")):
            source = "Radford et al. 2019, table 2; hparams.json of openai/gpt-2"
            yield Case(preset, head, name, "GPT2Config", {}, gpt2_sizes(*shape), source)
    for preset, kind, sizes, source in (
        ("llama-2-7b", "Llama", LLAMA, "Touvron et al. 2023 (arXiv 2307.09288)"),
        ("mistral-7b", "Mistral", MISTRAL, "Jiang et al. 2023 (arXiv 2310.06825)"),
    ):
        for head, ending in (("none", "Model"), ("causal-lm", "ForCausalLM")):
            yield Case(preset, head, kind + ending, f"{kind}Config", {}, sizes, source)
    for head, name in (("none", "T5Model"), ("causal-lm", "T5ForConditionalGeneration")):
        yield Case("t5-base", head, name, "T5Config", {}, T5, "Raffel et al. 2020 (JMLR 21:140)")
    for head, name, options in (
        ("none", "ViTModel", {"add_pooling_layer": False}),
        ("pooler", "ViTModel", {}),
        ("classifier", "ViTForImageClassification", {}),
    ):
        source = "Dosovitskiy et al. 2021 (arXiv 2010.11929)"
        yield Case("vit-base", head, name, "ViTConfig", options, VIT, source)


def build(case: Case) -> Any:
    """The model on the meta device, in training mode, with eager attention."""
    import torch

    library = importlib.import_module("transformers")
    config = getattr(library, case.config_class)(**case.sizes, attn_implementation="eager")
    with torch.device("meta"):
        return getattr(library, case.hf_class)(config, **case.options).train()


def inputs(case: Case) -> dict[str, Any]:
    """What the model is called with."""
    import torch

    tokens = torch.zeros((BATCH, LENGTH), dtype=torch.long, device="meta")
    if case.config_class == "ViTConfig":
        return {"pixel_values": torch.zeros((BATCH, 3, 224, 224), device="meta")}
    if case.config_class == "T5Config":
        return {"input_ids": tokens, "decoder_input_ids": tokens}
    return {"input_ids": tokens}


def total(output: Any) -> Any:
    """The sum of the tensors that the head produces: where the backward pass starts."""
    names = ("logits", "start_logits", "end_logits", "pooler_output", "last_hidden_state")
    tensors = [getattr(output, name, None) for name in names]
    return sum(tensor.sum() for tensor in tensors if tensor is not None)


def count(case: Case) -> tuple[int, int, int]:
    """Parameters, forward and forward + backward multiply-accumulates."""
    from torch.utils.flop_counter import FlopCounterMode

    model, given = build(case), inputs(case)
    parameters = sum(p.numel() for p in model.parameters())
    flops = []
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter:
            output = total(model(**given, **_options(case)))
            if backward:
                output.backward()
        angles = sum(
            sum(by_kind.values())
            for name, by_kind in counter.get_flop_counts().items()
            if name.endswith(".rotary_emb")
        )
        flops.append(counter.get_total_flops() - angles)
    assert all(f % 2 == 0 for f in flops), case
    return parameters, flops[0] // 2, flops[1] // 2


def _options(case: Case) -> dict[str, Any]:
    """How the models that could keep a key/value cache are called."""
    import torch

    if case.config_class in ("BertConfig", "ViTConfig"):
        return {}
    if case.config_class == "T5Config":
        return {"use_cache": False}
    # a mask that says nothing is left out; without one the code looks into the (absent) data
    mask = torch.ones((BATCH, LENGTH), dtype=torch.long, device="meta")
    return {"use_cache": False, "attention_mask": mask}


def write(folder: Path) -> None:
    """Count every case and write the two tables."""
    import torch
    import transformers

    versions = (torch.__version__.partition("+")[0], transformers.__version__)
    parameters, flops = [], []
    for case in cases():
        size, forward, training = count(case)
        length = 197 if case.config_class == "ViTConfig" else LENGTH
        parameters.append((case.preset, case.head, size, case.hf_class, case.source, *versions))
        flops.append(
            (case.preset, case.head, case.hf_class, BATCH, length, forward, training, *versions)
        )
        print(case.preset, case.head, size, forward, training, training / forward, flush=True)
    _table(
        folder / "parameter_counts.csv",
        ("preset", "head", "parameters", "hf_class", "source", "torch", "transformers"),
        parameters,
    )
    _table(
        folder / "flop_counts.csv",
        (
            *("preset", "head", "hf_class", "batch", "sequence_length"),
            *("forward_macs", "training_macs", "torch", "transformers"),
        ),
        flops,
    )


def _table(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    """Read the command line and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("tests/data"), help="folder to write to")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    write(arguments.out)


if __name__ == "__main__":
    main()
