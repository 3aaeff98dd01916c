"""Lists of matrix products, SCALE-Sim's among them, and its configurations."""

from __future__ import annotations

from pathlib import Path

import pytest
from descriptions import refused, written

from elector.base.errors import InputError
from elector.describe.formats import load_model, load_scalesim_config
from elector.describe.model import Gemm

# Lists of matrix products


@pytest.mark.parametrize(
    ("text", "gemms"),
    [
        ("name,M,N,K\na,1,2,3\nb,4,5,6\n", (Gemm("a", 1, 2, 3), Gemm("b", 4, 5, 6))),
        ("name,M,N,K,count\na,1,2,3,4\nb,4,5,6,\n", (Gemm("a", 1, 2, 3, 4), Gemm("b", 4, 5, 6))),
        # as SCALE-Sim's own files have it: trailing commas, blank lines, spaces, no line end
        (
            "Layer,M,N,K,\nL0,196,192,384,\n\nL1,196,1176,64,\n\n",
            (Gemm("L0", 196, 192, 384), Gemm("L1", 196, 1176, 64)),
        ),
        ("Layer Name, M, N, K,\nTest 1, 256, 128, 256,", (Gemm("Test 1", 256, 128, 256),)),
        ("Layer name, M, N, K, Sparsity,\nx, 7, 8, 9, 1:1,\n", (Gemm("x", 7, 8, 9),)),
        ("Layer,M,N,K\r\n1,256,128,2048\r\n", (Gemm("1", 256, 128, 2048),)),
        ("\n\nK,name,N,M\n3,a,2,1\n", (Gemm("a", 1, 2, 3),)),
    ],
)
def test_lists_of_products(tmp_path: Path, text: str, gemms: tuple[Gemm, ...]) -> None:
    model = load_model(written(tmp_path, text, "list.csv"))
    assert model.family == "gemm"
    assert model.name == "list"
    assert model.gemms == gemms


CONVOLUTIONS = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels,"
    " Num Filter, Strides,\n"
)


def test_convolutions_become_products(tmp_path: Path) -> None:
    text = CONVOLUTIONS + (
        "Conv1, 224, 224, 11, 11, 3, 96, 4,\n"
        "\tConv2, 14, 12, 3, 1, 512, 64, 1,# a comment\n"
        "DP3, 7, 7, 3, 3, 32, 1, 2\n"
    )
    model = load_model(written(tmp_path, text, "net.csv"))
    assert model.gemms == (
        Gemm("Conv1", 55 * 55, 96, 11 * 11 * 3),  # ceil((224 - 11 + 4) / 4) = 55
        Gemm("Conv2", 12 * 12, 64, 3 * 512),
        Gemm("DP3", 9, 1, 9, 32),  # depthwise: one product for each channel
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name,M,N,K\na,1,2,\n", ("line 2", "k: line 2: cell is empty")),
        ("name,M,N,K\na,1,2,3\nb,1,2\n", ("line 3: cell is empty",)),
        ("name,M,N,K\na,1,nan,3\n", ("line 2: must be finite", ": n: ")),
        ("name,M,N,K\na,1,x,3\n", ("line 2: is not a number",)),
        ("name,M,N,K\na,0,2,3\n", ("line 2: must be at least 1", ": m: ")),
        ("name,M,N,K\na,-1,2,3\n", ("line 2: must be at least 1",)),
        ("name,M,N,K\na,1.5,2,3\n", ("line 2: must be a whole number",)),
        ("name,M,N,K,count\na,1,2,3,0\n", ("count: line 2",)),
        ("name,M,N,K\na,1,2,3,9\n", ("line 2: has more cells",)),
        ("name,M,N\na,1,2\n", ("k: line 1: column is missing", "name,M,N,K[,count]")),
        ("name,M,N,K,size\na,1,2,3,4\n", ("size: line 1: unknown column",)),
        ("name,M,M,N,K\na,1,2,3,4\n", ("M: line 1: duplicate column",)),
        ("L0,196,192,384,\n", ("line 1: unknown column",)),
        ("name,M,N,K\n", ("has a header but no rows",)),
        ("", ("is empty",)),
        ('name,M,N,K\n"a,1,2,3\n', ("line",)),
        ("Layer,M,N,K,Sparsity\na,1,2,3,2:4\n", ("sparsity: line 2: only dense",)),
        (CONVOLUTIONS + "a,4,4,5,3,1,1,1,\n", ("line 2: the filter is larger",)),
        (CONVOLUTIONS + "a,4,4,3,3,1,1,0,\n", ("stride: line 2",)),
        (CONVOLUTIONS.replace(" Channels,", "") + "a,4,4,3,3,1,1,\n", ("channels: line 1",)),
    ],
)
def test_a_bad_list_of_products(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    refused(tmp_path, text, *parts, name="list.csv")


# SCALE-Sim's configuration

CONFIG = """[general]
run_name = test

[architecture_presets]
ArrayHeight:    32
ArrayWidth:     16
IfmapSramSzkB:    64
FilterSramSzkB:   64
OfmapSramSzkB:    128
IfmapOffset:    0
Bandwidth : 10, 20
Dataflow : os
MemoryBanks: 1

[run_presets]
InterfaceBandwidth: CALC
"""


def test_a_scalesim_configuration(tmp_path: Path) -> None:
    settings = load_scalesim_config(written(tmp_path, CONFIG, "a.cfg"))
    assert settings == {
        "accelerator.rows": 32,
        "accelerator.cols": 16,
        "accelerator.dataflow": "os",
        "accelerator.sram": 256 * 1024,
        "accelerator.convention": "scalesim",
    }
    user = load_scalesim_config(written(tmp_path, CONFIG.replace("CALC", "USER "), "a.cfg"))
    assert user == settings | {"accelerator.interface_bandwidth": 10.0}  # of each interface


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("ArrayHeight:    32", "", ("ArrayHeight: is missing",)),
        ("ArrayHeight:    32", "ArrayHeight: 0", ("ArrayHeight: must be at least 1",)),
        ("ArrayWidth:     16", "ArrayWidth: x", ("ArrayWidth: is not a number",)),
        ("Dataflow : os", "Dataflow : rs", ("Dataflow: unknown choice", "ws, os, is")),
        ("CALC", "USR", ("InterfaceBandwidth: unknown choice", "USER, CALC")),
        ("[architecture_presets]", "[architecture]", ("architecture_presets: section is missing",)),
        ("[general]", "general", ("is not a SCALE-Sim configuration",)),
        ("ArrayWidth:     16", "ArrayHeight: 16", ("is not a SCALE-Sim configuration",)),
        ("MemoryBanks: 1", "SparsitySupport: True", ("SparsitySupport",)),
    ],
)
def test_a_bad_configuration(tmp_path: Path, old: str, new: str, parts: tuple[str, ...]) -> None:
    path = written(tmp_path, CONFIG.replace(old, new), "a.cfg")
    with pytest.raises(InputError) as caught:
        load_scalesim_config(path)
    for part in (path, *parts):
        assert part in str(caught.value)


def test_a_configuration_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        load_scalesim_config(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        load_scalesim_config(tmp_path / "absent.cfg")
