"""Formats searched for their price in perplexity."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import transcode
from elector.base.errors import InputError

SPACE = """
name: formats
model: llama-2-7b
accelerator: a100-sxm-80gb
workload: {{generate: 8, precision: fp16, implementation: fastertransformer, {more}}}
objectives: {{perplexity_increase: min, time_per_output_token_s: min}}
"""


def search(folder: Path, more: str) -> pd.DataFrame:
    file = folder / "space.yaml"
    file.write_text(SPACE.format(more=more))
    transcode.search(file, out=folder / "run")
    return pd.read_csv(folder / "run" / "front.csv")


def test_fewer_bits_are_faster_and_never_free(tmp_path: Path) -> None:
    front = search(tmp_path, "weights: [same, int8, int4, nvfp4]")
    by = front.set_index("workload.weights")
    assert by.loc["same", "perplexity_increase"] == 0
    assert by.loc["int4", "perplexity_increase"] > 0.02
    assert by.loc["int4", "time_per_output_token_s"] < by.loc["same", "time_per_output_token_s"]
    assert "nvfp4" not in by.index  # more bits than int4, and worse scores


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("weights: [same, nf4]", "workload.weights"),
        ("weights: mxfp4", "workload.weights"),
        ("kv_cache: [same, nvfp4]", "workload.kv_cache"),
    ],
)
def test_formats_without_a_score_are_refused(tmp_path: Path, more: str, field: str) -> None:
    with pytest.raises(InputError, match="no published score") as caught:
        search(tmp_path, more)
    assert caught.value.field == field
    assert not (tmp_path / "run").exists()


def test_formats_are_refused_with_an_accuracy(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "name: a\nmodel: {base: encoder, layers: [2, 4]}\naccelerator: systolic\n"
        "workload: {task: sst2, weights: [same, int8]}\n"
        "objectives: {accuracy: max, latency_s: min}\n"
    )
    with pytest.raises(InputError, match="changes the accuracy"):
        transcode.search(file, out=tmp_path / "run")
