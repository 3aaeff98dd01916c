"""Lists of matrix products, SCALE-Sim's among them, and its configurations."""

from __future__ import annotations

from dataclasses import replace
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
        ("name,M,N,K,dtype\na,1,2,3,int8\n", ("dtype: line 1: unknown column",)),
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


# Topologies as SCALE-Sim reads them: the first line skipped, cells by their place

#: Shapes of SCALE-Sim's mlperf/DeepSpeech2 and dlrm/dlrm_weight_grad, with their headers.
DEEP_SPEECH = (
    "Layer, IFMAP Width, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
    "conv1,700,161,41,11,1,32,2,\nconv2,341,79,21,11,32,32,2,\nrnn1,672,2560,1,2560,1,4,1, \n"
    "rnn2,2560,2560,1,2560,1,4,1, \nrnn3,2560,2560,1,2560,1,4,1, \nFC,1,2560,1,2560,1,29,1,\n"
)
DLRM = (
    "Layer name,Ifmap height,ifmap width,filter height,filter width,channel,num filters,strides,\n"
    "pool,16,128,1,128,1,24,1,\nb0,13,128,1,128,1,512,1,\nb1,512,128,1,128,1,512,1,\n"
    "b2,512,128,1,128,1,512,1,\nb3,512,128,1,128,1,16,1,\nt0,1040,128,1,128,1,512,1,\n"
    "t1,512,128,1,128,1,512,1,\nt2,512,128,1,128,1,512,1,\n"
)


@pytest.mark.parametrize(("text", "macs"), [(DEEP_SPEECH, 1_755_361_152), (DLRM, 204_324_864)])
def test_multiply_accumulates_of_a_shipped_topology(tmp_path: Path, text: str, macs: int) -> None:
    gemms = load_model(written(tmp_path, text, "net.csv")).gemms
    assert sum(g.count * g.m * g.n * g.k for g in gemms) == macs


LAYER = (Gemm("a", 3 * 3, 6, 3 * 3 * 2),)
NAMED = "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides"


@pytest.mark.parametrize(
    ("header", "line", "gemms"),
    [
        (f"{NAMED},", "a, 5, 5, 3, 3, 2, 6, 1,", LAYER),
        (NAMED, "a,5,5,3,3,2,6,1", LAYER),
        # names that are wrong, of another case, or not there at all
        (
            "Layer, IFMAP Width, IFMAP Width, F, F, channel, num filters, S,",
            "a,5,5,3,3,2,6,1,",
            LAYER,
        ),
        ("Layer name, IFMAP Height, IFMAP Width, Filter Height,,,,,", "a,5,5,3,3,2,6,1,", LAYER),
        ("what,ever,stands,here,is,not,read,", "a,5,5,3,3,2,6,1,", LAYER),
        # a stride of its own along the width (version 2), dense sparsity (version 3), a batch
        (f"{NAMED},", "a,5,5,3,3,2,6,1,2,", (Gemm("a", 3 * 2, 6, 18),)),
        (f"{NAMED}, Stride Width,", "a,5,5,3,3,2,6,2,1,", (Gemm("a", 2 * 3, 6, 18),)),
        (f"{NAMED}, Sparsity,", "a,5,5,3,3,2,6,1,1:1,", LAYER),
        (f"{NAMED},", "a,5,5,3,3,2,6,1,4:4,", LAYER),
        (f"{NAMED},,", "a,5,5,3,3,2,6,1,2,1:1,", (Gemm("a", 3 * 2, 6, 18),)),
        (f"{NAMED}, Batch Size,", "a,5,5,3,3,2,6,1,4,", (Gemm("a", 4 * 9, 6, 18),)),
        (f"{NAMED}, batch size,", "a,5,5,3,3,2,6,1,", LAYER),
        # what stands behind the last comma is not read; a title is no layer
        (f"{NAMED},", "a,5,5,3,3,2,6,1,a remark", LAYER),
        (f"{NAMED},", "a,5,5,3,3,2,6,1,1", LAYER),
        (f"{NAMED},", "Resnet50,\n\na,5,5,3,3,2,6,1,\n", LAYER),
        # columns that change nothing: results (version 1), a target behind the last comma, a word
        (f"{NAMED},,,Eh,Ew,e2", ",,,,,,,,,,,,\na,5,5,3,3,2,6,1,,,3,3,9\n", LAYER),
        (f"{NAMED},,,Eh,Ew,e2", "a,5,5,3,3,2,6,1,,,,,", LAYER),
        (f"{NAMED},, Target", "a,5,5,3,3,2,6,1, NPU", LAYER),
        (f"{NAMED}, Target", "a,5,5,3,3,2,6,1, NPU", LAYER),
        (f"{NAMED}, Comment", "a,5,5,3,3,2,6,1, the first", LAYER),
        (
            f"{NAMED}, Padding",
            "a,5,5,3,3,2,6,1,\nb,5,5,3,3,2,6,1",
            (*LAYER, replace(LAYER[0], name="b")),
        ),
        (f"{NAMED}, Kind, Remark", "a,5,5,3,3,2,6,1,", LAYER),
    ],
)
def test_topologies_by_place(
    tmp_path: Path, header: str, line: str, gemms: tuple[Gemm, ...]
) -> None:
    assert load_model(written(tmp_path, f"{header}\n{line}", "net.csv")).gemms == gemms


@pytest.mark.parametrize(
    ("header", "line", "parts"),
    [
        (f"{NAMED},", "a,5,5,3,3,2,x,1,", ("filters: line 2: is not a number", "cell 7")),
        (f"{NAMED},", "a,5,5,3,3,,1 2,6,1,", ("channels: line 2: cell is empty", "cell 6")),
        (f"{NAMED},", "a,5,5,3,3,2,6,", ("stride: line 2: cell is empty", "cell 8")),
        (f"{NAMED},", ",5,5,3,3,2,6,1,", ("name: line 2: cell is empty",)),
        (f"{NAMED},", "a,5,5,3,3,2,6,1.5,", ("stride: line 2: must be a whole number",)),
        (f"{NAMED},", "a,5,5,3,3,2,6,1,0,", ("stride_width: line 2: must be at least 1",)),
        (f"{NAMED},", "a,5,5,3,6,2,6,1,", ("filter_width: line 2: the filter is larger",)),
        (f"{NAMED},", "a,5,5,3,3,2,6,1,2:4,", ("sparsity: line 2: only dense",)),
        (f"{NAMED},", "a,5,5,3,3,2,6,1,7", ("line 2: has more cells",)),
        (f"{NAMED}, Padding,", "a,5,5,3,3,2,6,1,1,", ("Padding: line 1: unknown column",)),
        (f"{NAMED}, Padding", "a,5,5,3,3,2,6,1,1", ("Padding: line 1: unknown column",)),
        (f"{NAMED}, Padding,", "a,5,5,3,3,2,6,1,same,", ("Padding: line 1: unknown column",)),
        (f"{NAMED}, Padding", "a,5,5,3,3,2,6,1,same", ("Padding: line 1: unknown column",)),
        (f"{NAMED}, Pad,", "a,5,5,3,3,2,6,1,valid", ("Pad: line 1: unknown column",)),
        (f"{NAMED},, Dilation", "a,5,5,3,3,2,6,1,,two", ("Dilation: line 1: unknown column",)),
        (f"{NAMED},", "Resnet50,", ("has no layer",)),
        ("a,5,5,3,3,2,6,1,", "b,5,5,3,3,2,6,1,", ("line 1: unknown column", "header")),
        (NAMED.replace(",", "\t"), "a\t5\t5\t3\t3\t2\t6\t1", ("separated by tabs",)),
    ],
)
def test_a_bad_topology(tmp_path: Path, header: str, line: str, parts: tuple[str, ...]) -> None:
    refused(tmp_path, f"{header}\n{line}", *parts, name="net.csv")


@pytest.mark.parametrize(
    "text",
    [
        "Layer, M, N, K,\nx, 7, 8, 9,\n",
        "GEMM,m,n,k,\nx,7,8,9,\n",
        "Layer,M,N,K,,\nx,7,8,9,1:1,\n",
        "Layer,M,N,K,x,\nx,7,8,9,\n",
        "Layer,M,N,K,\n\nx,7,8,9,\n\n",
    ],
)
def test_products_of_scalesim(tmp_path: Path, text: str) -> None:
    assert load_model(written(tmp_path, text, "list.csv")).gemms == (Gemm("x", 7, 8, 9),)


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
