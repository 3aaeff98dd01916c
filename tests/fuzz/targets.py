"""What is read: shipped files and files made here, and the commands that read them."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import transcode
from elector.base.table import DATA

ROOT = Path(__file__).resolve().parents[2]
#: A place in a command for the file, its text, and the folder that it lies in.
FILE, TEXT, FOLDER = "{file}", "{text}", "{folder}"
Command = tuple[str, ...]

SPACE = """name: few
model: {base: encoder, layers: [2, 4], hidden: [128, 256], heads: [2, 4]}
accelerator: {base: systolic, rows: [16, 32], dataflow: [ws, os]}
objectives: {latency_s: min, energy_j: min}
"""
RATED = """name: rated
model: {base: encoder, layers: [2, 4], hidden: [128, 256]}
accelerator: {base: systolic, rows: [16, 32]}
workload: {task: mine}
accuracy: {source: SOURCE, rows: rows.csv}
objectives: {accuracy: max, latency_s: min}
"""


@dataclass(frozen=True)
class Target:
    """One format.

    seeds : contents to change. name : of the file, {number} in it. commands : that read it.
    prepare : fills the folder that the commands run in.
    """

    label: str
    seeds: Sequence[bytes]
    name: str
    commands: Sequence[Command]
    prepare: Callable[[Path], None] = lambda folder: None


def _files(*patterns: str) -> list[bytes]:
    contents = [path.read_bytes() for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    return [content for content in contents if len(content) < 8000]


def _rows(name: str, count: int) -> list[bytes]:
    """Pieces of a large table, each with its header."""
    header, *lines = (DATA / name).read_bytes().splitlines(keepends=True)
    step = max(len(lines) // 12, count)
    return [header + b"".join(lines[at : at + count]) for at in range(0, len(lines), step)]


def _json(*values: object) -> list[bytes]:
    return [json.dumps(value, indent=1).encode() for value in values]


BERT = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "architectures": ["BertForMaskedLM"],
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 688,
    "tie_word_embeddings": False,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
}
FLEXIBERT = {
    "l": 2,
    "o": ["sa", "l"],
    "h": [128, 256],
    "f": [[512], [1024]],
    "n": [2, 4],
    "p": ["sdp", "dct"],
}
SCALESIM = b"""[general]
run_name = small
[architecture_presets]
ArrayHeight: 32
ArrayWidth: 32
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
Dataflow : ws
Bandwidth : 10,10,10
[run_presets]
InterfaceBandwidth: USER
"""
PLANS = [
    b"model: bert-tiny\nworkload: {batch: 4}\nphases:\n"
    b"  - {name: a, steps: 10, accelerator: systolic}\n"
    b'  - {name: b, steps: 5, trainable: "lora:8", accelerator: systolic}\n'
    b"switch: {step: 10, window: 2, windows: 1}\n",
    b"model: hpt-snow\nworkload: {sequence_length: 64}\nphases:\n"
    b"  - {steps: 10, accelerator: hpt, assignment: [{unit: gpu}]}\n",
]
TABLES = [
    b"note.a,model,accelerator,workload.batch,accelerator.rows\nx,bert-tiny,systolic,1,16\n"
    b"y,gpt2,tpu-v4i,2,\n,encoder,acceltran-edge,,\n",
    b"id,model,accelerator,workload.batch,workloads.a.mode,workloads.b.mode,accuracy,feasible\n"
    b"1,bert-tiny,systolic,2,inference,training,.8,true\n",
]
#: Tables of shipped constants.
TECHNOLOGY = sorted(path.stem for path in (DATA / "technology").glob("*.csv"))
OPERATIONS = [
    {"kind": "operations", "name": "few", "parameters": 8, "symbols": {"w": 8}, "operations": [
        {"name": "a", "m": "batch * length", "k": "w", "n": 4, "b": "weight", "count": 2},
        {"name": "s", "operation": "softmax", "elements": "batch * length ** 2", "layer": 1}]},
]  # fmt: skip
RATINGS = [
    b"name,task,metric,score,std,layers,hidden,heads,feed_forward,parameters,source,evidence\n"
    b"a,mine,accuracy,81,.5,2,128,2,512,4e6,here,measured\n"
    b"b,mine,accuracy,84,.5,4,128,2,512,5e6,here,measured\n"
    b"c,mine,accuracy,86,.4,2,256,4,1024,9e6,here,measured\n"
    b"d,mine,accuracy,88,.4,4,256,4,1024,11e6,here,measured\n",
    b"task,score,layers,hidden,heads,feed_forward,parameters,tokens,distilled,use,tau_i,tau_t,seed\n"
    b"mine,80,2,128,2,512,4e6,1e9,no,yes,0,0,1\nmine,85,4,256,4,1024,9e6,2e9,yes,yes,0,0,1\n"
    b"mine,81,4,128,2,512,5e6,,,,.1,0,1\nmine,82,2,256,4,1024,8e6,,,,0,.1,1\n",
]
SETTINGS = [
    b"model.layers=3",
    b"workload.batch=4",
    b"accelerator.sram=4 MiB",
    b"workload.mode=training",
    b"workload.precision=bf16",
    b"workload.trainable=lora:8",
    b"model.head=masked-lm",
    b"accelerator.clock=1 GHz",
    b"workload.sparsity=acceltran",
    b"model.layer1.heads=2",
]
CONDITIONS = [
    b"latency_s <= 5 ms and energy_j <= 20e-3",
    b"model.hidden % model.heads == 0 or not energy_j > 2",
    b"accelerator.dataflow in ['ws', 'os']",
    b"min(latency_s, 1) + abs(-energy_j) * 2 // 3 < 7",
    b"not (latency_s < 1 and energy_j < 2) or area_mm2 / (3 + latency_s) in [1, 2]",
    b"accelerator.rows // 0 == 0 or not latency_s / (accelerator.rows - 16) > 1e300 * 1e300",
]
SEARCH = (
    *("transcode", "search", FILE, "--out", f"{FOLDER}/new", "--quiet", "--jobs", "1"),
    *("--sampler", "random", "--budget", "8", "--batch", "8"),
)


@functools.cache
def _made_run() -> Path:
    """A run folder of a small space, and its space file beside it."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-run-"))
    (place / "few.yaml").write_text(SPACE)
    options = {"sampler": "random", "budget": 16, "batch": 4, "jobs": 1}
    transcode.search(place / "few.yaml", out=place / "run", **options)
    return place


def _with_run(folder: Path) -> None:
    shutil.copytree(_made_run(), folder, dirs_exist_ok=True)


def _of_run(name: str) -> list[bytes]:
    return [(_made_run() / "run" / name).read_bytes()]


def _rated(source: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "rated.yaml").write_text(RATED.replace("SOURCE", source))

    return write


def _asked(*more: str) -> list[Command]:
    """Everything that reads a run folder."""
    run = f"{FOLDER}/run"
    return [
        ("transcode", "front", run),
        ("transcode", "front", run, "--format", "json"),
        ("transcode", "front", run, "--where", "latency_s <= 1"),
        ("transcode", "check", run, "--require", "hypervolume > 0", "--require", "latency_s < 1"),
        ("transcode", "compare", run, run),
        ("transcode", "merge", run, run, "--out", f"{FOLDER}/all"),
        (
            *("transcode", "search", f"{FOLDER}/few.yaml", "--out", run, "--quiet"),
            *("--jobs", "1", "--budget", "20", *more),
        ),
    ]


@functools.cache
def targets() -> dict[str, Target]:
    """Every format by its label."""
    one = ("elector", "simulate")
    pair = (*one, "bert-tiny", "systolic")
    run = f"{FOLDER}/run"
    asked = [("transcode", "front", run, "--where"), ("transcode", "check", run, "--require")]
    listed = [("transcode", "front", run, "--objectives"), ("transcode", "front", run, "--weights")]
    formats = [
        Target("model", _files("elector/data/models/*.yaml", "docs/examples/model.yaml"),
               "m{number}.yaml", [(*one, FILE, "systolic"), ("elector", "show", FILE)]),
        Target("config", _json(BERT, LLAMA, FLEXIBERT), "c{number}.json",
               [(*one, FILE, "tpu-v4i"), (*one, FILE, "a100-sxm-80gb", "--mode", "training")]),
        Target("products", _files("elector/data/gemms/*.csv", "docs/examples/gemm.csv"),
               "g{number}.csv", [(*one, FILE, "systolic")]),
        Target("operations", [*_files("docs/examples/operations.yaml"), *_json(*OPERATIONS)],
               "o{number}.yaml", [(*one, FILE, "systolic"), (*one, FILE, "a100-sxm-80gb")]),
        Target("accelerator", _files("elector/data/accelerators/*.yaml", "docs/examples/edge.yaml"),
               "a{number}.yaml", [(*one, "bert-tiny", FILE), ("elector", "show", FILE)]),
        Target("scale-sim", [SCALESIM], "s{number}.cfg", [(*one, "bert-tiny", FILE)]),
        Target("sparsity", _rows("sparsity/acceltran.csv", 30) + _rows("sparsity/dynatran.csv", 30),
               "z{number}.csv", [(*pair, "--mode", "training", "--sparsity", FILE)]),
        Target("technology", [p for n in TECHNOLOGY
                              for p in _rows(f"technology/{n}.csv", 12)],
               "t{number}.csv", [(*pair, "--technology", FILE),
                                 ("elector", "list", "technologies", "--technology", FILE)]),
        Target("plan", PLANS, "p{number}.yaml", [("elector", "run", FILE)]),
        Target("cases", _rows("published.csv", 3), "v{number}.csv",
               [("elector", "validate", "--cases", FILE)]),
        Target("table", TABLES + _files("docs/examples/sweep.csv"), "w{number}.csv",
               [("elector", "sweep", FILE, "--out", f"{FOLDER}/costs.csv"),
                ("elector", "compare", FILE, FILE)]),
        Target("setting", SETTINGS, "", [(*pair, "--set", TEXT), (*one, "gpt2", "isaac", "--set",
                                                               TEXT)]),
        Target("name", [b"bert-tiny", b"gemm:tpu-mlp0", b"systolic", b"hpt", b"none.yaml"], "",
               [(*one, TEXT, "systolic"), (*one, "bert-tiny", TEXT), ("elector", "show", TEXT),
                (*pair, "--sparsity", TEXT), (*pair, "--technology", TEXT),
                ("transcode", "front", TEXT), ("transcode", "search", TEXT, "--out", TEXT,
                                               "--budget", "1")]),
        Target("space", [*_files("spaces/*.yaml", "docs/examples/space.yaml"), SPACE.encode()],
               "x{number}.yaml", [SEARCH]),
        Target("ratings", RATINGS, "rows.csv", [
            tuple(w.replace(FILE, f"{FOLDER}/rated.yaml") for w in SEARCH)], _rated("surrogate")),
        Target("scores", RATINGS, "rows.csv", [
            tuple(w.replace(FILE, f"{FOLDER}/rated.yaml") for w in SEARCH)], _rated("table")),
        Target("condition", CONDITIONS, "", [(*words, TEXT) for words in asked], _with_run),
        Target("choice", [b"latency_s,area_mm2:min", b"latency_s=0.5,energy_j=0.5"], "",
               [(*words, TEXT) for words in listed], _with_run),
        Target("manifest", _of_run("manifest.json"), "run/manifest.json", _asked(), _with_run),
        Target("front", _of_run("front.csv"), "run/front.csv",
               [*_asked(), ("elector", "sweep", FILE, "--out", f"{FOLDER}/costs.csv"),
                (*SEARCH[:2], f"{FOLDER}/few.yaml", *SEARCH[3:8], "--sampler", "evolve",
                 "--budget", "8", "--warm-start", FILE)], _with_run),
        Target("front.json", _of_run("front.json"), "run/front.json",
               [*_asked(), ("transcode", "check", run, "--require", "hypervolume >= baseline",
                            "--baseline", FILE)], _with_run),
        Target("part", _of_run("designs/part-000001.parquet"), "run/designs/part-000001.parquet",
               _asked(), _with_run),
    ]  # fmt: skip
    return {target.label: target for target in formats}
