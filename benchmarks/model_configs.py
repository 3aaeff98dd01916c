"""How many published configurations are read, and how exactly.

    .venv/bin/python benchmarks/model_configs.py FOLDER... [--counts COUNTS.json]

FOLDER holds config.json files (NAME_config.json). COUNTS.json is a list of
{id, class, config, parameters, active_parameters, macs: {b1}, macs_by_operation_b1,
kv_bytes_per_token} counted with the classes of transformers: on the meta device, PyTorch's flop
counter, eager attention, batch 1, 128 tokens, experts as routed. Prints a CSV row for each file or
configuration: what it is, what we count, what the class counts, or the key that is refused; and
a summary. Depthwise convolutions are vector work here and no multiply-accumulates; what a scan
multiplies depends on how it is written, so that of such models the linear layers are compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from elector.base.errors import InputError
from elector.base.table import Column
from elector.describe.formats.hf.read import from_config
from elector.describe.model import Model
from elector.describe.variants import with_settings
from elector.evaluation.resolve import resolve
from elector.operations import Operations, build

FIELDS = ("name", "model_type", "outcome", "parameters", "active", "macs", "cache", "difference")
#: Types of which the linear layers are compared: scans are counted as their code writes them.
SCANS = frozenset({"mamba", "mamba2", "nemotron_h"})
#: Types with depthwise convolutions.
CONVOLVED = SCANS | {"lfm2"}
TOKENS = 128
#: Longest input of models that take less.
SHORT = {"clip_text_model": 77}


def operations(model: Model, **workload: float) -> Operations:
    """The operations of a model at batch 1 under a plain workload."""
    settings = {"model": "gpt2", "accelerator": "systolic", "workload.precision": "bf16"}
    settings |= {f"workload.{key}": value for key, value in workload.items()}
    table = {key: Column.constant(value, 1) for key, value in settings.items()}
    (group,) = resolve(table, 1)
    return build(with_settings(model, {}, 1), group.workload)


def counted(model: Model, kind: str) -> dict[str, int]:
    """Parameters, active ones, multiply-accumulates, and bytes a token adds to the cache."""
    length = SHORT.get(kind, TOKENS)
    ops = operations(model, sequence_length=length, predictions=length)
    counts = {"parameters": int(ops.parameters[0]), "active": int(ops.active[0])}
    done = ops.count * ops.batch * ops.m * ops.k * ops.n
    linear = [row.matmul and row.kind == "linear" for row in ops.rows]
    counts["macs"] = int(done[linear].sum() if kind in SCANS else ops.macs[0])
    if model.family == "decoder" and any(b.causal for b in model.blocks):
        kept = [operations(model, sequence_length=8, generate=n).memory["cache"][0] for n in (3, 4)]
        counts["cache"] = int(kept[1] - kept[0])
    return counts


def expected(entry: dict[str, Any]) -> dict[str, int]:
    """The same, as the class counts."""
    kind, parts = entry["model_type"], entry["macs_by_operation_b1"]
    macs = entry["macs"]["b1"] - (parts["convolution"] if kind in CONVOLVED else 0)
    counts = {"parameters": entry["parameters"], "active": entry["active_parameters"]}
    counts["macs"] = parts["linear"] if kind in SCANS else macs
    if entry.get("kv_bytes_per_token") is not None:
        counts["cache"] = entry["kv_bytes_per_token"]
    return counts


def row(name: str, config: dict[str, Any], file: object, other: dict[str, Any] | None) -> Row:
    """One configuration."""
    inner = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    kind = str((inner or config).get("model_type") or config.get("model_type"))
    base: Row = dict.fromkeys(FIELDS, "") | {"name": name, "model_type": kind}
    try:
        model = from_config(config, name, file)
        counts = counted(model, kind)
    except InputError as error:
        return base | {"outcome": f"refused: {error.field}"}
    wanted = {} if other is None else expected(other)
    differ = [key for key in wanted if key in counts and counts[key] != wanted[key]]
    return base | counts | {"outcome": "read", "difference": " ".join(differ)}


Row = dict[str, Any]


def of_folder(folder: Path) -> Iterator[Row]:
    """Every configuration of a folder."""
    for path in sorted(folder.glob("*config.json")):
        if "quant_config" not in path.name:
            name = path.name.removesuffix("_config.json")
            yield row(name, json.loads(path.read_text(encoding="utf-8")), path, None)


def of_counts(path: Path) -> Iterator[Row]:
    """Every configuration of a list of counts, compared."""
    for entry in json.loads(path.read_text(encoding="utf-8")):
        config = {**entry["config"], "architectures": [entry["class"]]}
        yield row(entry["id"], config, path, entry)


def summary(rows: list[Row]) -> str:
    """Read, refused and differing, and how many types."""
    read = [r for r in rows if r["outcome"] == "read"]
    types = {r["model_type"] for r in read}
    wrong = [r["name"] for r in read if r["difference"]]
    return (
        f"{len(read)} of {len(rows)} read, {len(types)} types, {len(wrong)} differ"
        f"{': ' + ', '.join(wrong) if wrong else ''}"
    )


def main() -> None:
    """Prints the rows and their summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--counts", type=Path)
    given = parser.parse_args()
    rows = [line for folder in given.folders for line in of_folder(folder)]
    if given.counts is not None:
        rows += of_counts(given.counts)
    writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    print(summary(rows), file=sys.stderr)


if __name__ == "__main__":
    main()
