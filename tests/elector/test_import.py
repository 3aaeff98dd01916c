"""Files of other tools as operation lists; no code of them is ever run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from exported import archive, expression, node, program, symbol, tensor

import elector
from elector.base.errors import InputError
from elector.cli.commands import main
from elector.describe.formats.described import to_mapping
from elector.describe.imports import import_file, limits
from elector.describe.imports.calls import OperatorCall, ProgramTensor, UnknownOperators, rows
from elector.describe.imports.traced import Symbol, Traced, listing
from elector.describe.listing import Listing


def read(path: str, **symbols: str) -> Listing:
    listed = import_file(path, symbols).model.listing
    assert listed is not None
    return listed


def refuses(path: str, *parts: str, **symbols: str) -> None:
    with pytest.raises(InputError) as caught:
        import_file(path, symbols)
    for part in parts:
        assert part in str(caught.value)


# Exported programs


def test_an_exported_program(tmp_path: Path) -> None:
    listed = read(archive(tmp_path / "a.pt2"))
    assert [entry.name for entry in listed.entries] == [
        "layers.*.up.linear",
        "layers.*.act.gelu",
        "layers.*.down.linear",
    ]
    texts = [{key: size.text for key, size in entry.sizes} for entry in listed.entries]
    assert texts[0] == {"m": "batch * length", "k": "8", "n": "16"}
    assert texts[1] == {"elements": "16 * batch * length"}
    assert listed.parameters == 2 * 8 * 16


def test_the_command_writes_a_model(tmp_path: Path) -> None:
    out = tmp_path / "model.yaml"
    done = CliRunner().invoke(main, ["import", archive(tmp_path / "a.pt2"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "s0 is batch" in done.output
    result = elector.simulate(str(out), "systolic", settings={"workload.batch": 3})
    assert result["macs"] == 3 * 128 * 2 * 8 * 16


def hostile(marker: Path) -> dict[str, Any]:
    """A description whose sizes are code, as sympy would run it."""
    code = f"__import__('pathlib').Path({str(marker)!r}).write_text('run')"
    document = program()
    values = document["graph_module"]["graph"]["tensor_values"]
    values["x"] = tensor(expression(code), symbol("s1"), 8)
    return document


class Bomb:
    """What a pickle runs when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"open({str(self.marker)!r}, 'w').write('run')",)


def test_a_hostile_program_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "run"
    bomb = pickle.dumps(Bomb(marker))
    refuses(archive(tmp_path / "a.pt2", hostile(marker)), "a size of it is no expression")
    # A pickle beside the description, and one in its place: neither is read.
    read(archive(tmp_path / "b.pt2", m__data__sample_inputs__model__pt=bomb))
    path = tmp_path / "c.pt2"
    path.write_bytes(bomb)
    refuses(str(path), "is no .pt2 archive", "torch.export.save")
    path = tmp_path / "d.pt2"
    archive(path, name="m/nothing.json", m__data_pkl=bomb)
    refuses(str(path), "holds no exported program")
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl"])
def test_a_pickle_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pickle.dumps({}))
    refuses(str(path), "is a pickle, which runs code")


def with_node(target: str) -> dict[str, Any]:
    document = program()
    document["graph_module"]["graph"]["nodes"].append(node(target, ["y"], "g"))
    return document


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        (with_node("torch.ops.higher_order.cond"), ("control flow", "higher_order.cond")),
        (with_node("torch.ops.higher_order.while_loop"), ("higher_order.while_loop",)),
        (with_node("torch.ops.mine.kernel.default"), ("torch.ops.mine.kernel.default",)),
        (with_node("torch.ops.aten._grouped_mm.default"), ("_grouped_mm is not known",)),
        ({}, ("its description is not that of a program",)),
        ([], ("is no description of a program",)),
        (program(graph_module={"graph": {}, "signature": {}}), ("nodes",)),
    ],
)
def test_a_bad_program(tmp_path: Path, document: object, parts: tuple[str, ...]) -> None:
    refuses(archive(tmp_path / "a.pt2", document), *parts)


def test_sizes_that_are_fixed_or_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt2")
    fixed = read(path, s1="10")
    size = fixed.entries[0].size("m")
    assert size is not None and size.text == "10 * batch"
    own = read(path, s1="tokens")
    assert own.symbols == (("tokens", 16),)
    refuses(path, "no size of the file has this name", "s0", s9="3")


def test_a_size_of_another_form_is_refused(tmp_path: Path) -> None:
    document = program()
    values = document["graph_module"]["graph"]["tensor_values"]
    values["g"] = tensor(symbol("s0"), expression("Max(20, Symbol('s1'))"), 16)
    path = archive(tmp_path / "a.pt2", document)
    refuses(path, "layers.0.act.gelu", "is no polynomial", "--symbol")
    assert read(path, s1="32").entries


def test_a_large_description_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DESCRIPTION", 1000)
    refuses(archive(tmp_path / "a.pt2"), "is larger than")


# Sizes that are followed


def one(size: Any) -> Listing:
    def trace(point: Any) -> list[Traced]:
        return [Traced("a", "gelu", (("elements", size(**point)),))]

    symbols = [Symbol("batch", (2, 3, 5, 9)), Symbol("length", (8, 16, 32, 64))]
    return listing(trace, symbols, None, "file")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (lambda batch, length: 7, "7"),
        (lambda batch, length: batch**2, "batch ** 2"),
        (lambda batch, length: 12 * batch * length**2, "12 * batch * length ** 2"),
        (lambda batch, length: batch * length - 3, "batch * length - 3"),
        (lambda batch, length: batch * length * (length + 1) // 2, None),
        (lambda batch, length: (2 * length - 1) * 64 + batch, "64 * (2"),
    ],
)
def test_polynomials(size: Any, text: str | None) -> None:
    polynomial = one(size).entries[0].sizes[0][1]
    if text is not None and "(" not in text:
        assert sorted(polynomial.text.split(" ")) == sorted(text.split(" "))
    for batch, length in ((4, 1), (5, 77), (3, 128)):
        assert polynomial.at({"batch": batch, "length": length}) == size(batch=batch, length=length)


@pytest.mark.parametrize(
    "size",
    [
        lambda batch, length: max(length, 30),
        lambda batch, length: batch**3 * length,
        lambda batch, length: length**3,
        lambda batch, length: -(-length // 24),
    ],
)
def test_no_polynomial(size: Any) -> None:
    with pytest.raises(InputError, match="is no polynomial"):
        one(size)


def test_what_runs_may_not_depend_on_sizes() -> None:
    def trace(point: Any) -> list[Traced]:
        return [Traced("a", "gelu", (("elements", 1),))] * (point["length"] // 8)

    with pytest.raises(InputError, match="what runs depends on the sizes"):
        listing(trace, [Symbol("length", (8, 16, 24, 32))], None, "file")


# Products


def sides(name: str, kind: str, *args: Any, out: tuple[int, ...], **named: Any) -> list[int]:
    """Multiply-accumulates of each product of a call."""
    call = OperatorCall(name, "x", args, [ProgramTensor(out)], named)
    macs = []
    for row in rows(call, kind, UnknownOperators()):
        if not row.function:
            size = dict(row.sizes)
            macs.append(size["batch"] * size["m"] * size["k"] * size["n"])
    return macs


@pytest.mark.parametrize(
    ("name", "kind", "args", "out", "named", "macs"),
    [
        ("linear", "aten", ((2, 5, 8), (16, 8)), (2, 5, 16), {}, 2 * 5 * 8 * 16),
        ("bmm", "aten", ((6, 5, 8), (6, 8, 3)), (6, 5, 3), {}, 6 * 5 * 8 * 3),
        ("matmul", "aten", ((2, 4, 5, 8), (4, 8, 3)), (2, 4, 5, 3), {}, 8 * 5 * 8 * 3),
        ("addmm", "aten", ((3,), (5, 8), (8, 3)), (5, 3), {}, 5 * 8 * 3),
        ("mv", "aten", ((5, 8), (8,)), (5,), {}, 40),
        ("conv2d", "aten", ((2, 3, 9, 9), (8, 3, 3, 3)), (2, 8, 7, 7), {}, 2 * 49 * 27 * 8),
        ("conv2d", "aten", ((2, 8, 9, 9), (8, 1, 3, 3)), (2, 8, 7, 7), {"groups": 8}, 2 * 49 * 72),
        ("Gemm", "onnx", ((8, 5), (3, 8)), (5, 3), {"transA": 1, "transB": 1}, 5 * 8 * 3),
        ("Conv", "onnx", ((1, 4, 9), (6, 2, 3)), (1, 6, 7), {"group": 2}, 7 * 6 * 6),
        ("MatMul", "onnx", ((7,), (7, 2)), (2,), {}, 14),
        ("einsum", "aten", ((2, 4, 5), (4, 5, 6)), (2, 4, 6), {"equation": "bhd,hde->bhe"}, 240),
    ],
)
def test_products(
    name: str, kind: str, args: Any, out: tuple[int, ...], named: dict[str, Any], macs: int
) -> None:
    tensors = [ProgramTensor(shape) for shape in args]
    assert sides(name, kind, *tensors, out=out, **named) == [macs]


def test_fused_attention_is_its_products() -> None:
    q, k = ProgramTensor((2, 8, 5, 16)), ProgramTensor((2, 2, 7, 16))
    products = rows(
        OperatorCall("scaled_dot_product_attention", "x", [q, k, k], [q]),
        "aten",
        UnknownOperators(),
    )
    assert [dict(r.sizes).get("sharing") for r in products] == [4, None, 4]
    assert sides("scaled_dot_product_attention", "aten", q, k, k, out=(2, 8, 5, 16)) == [
        16 * 5 * 16 * 7,
        16 * 5 * 7 * 16,
    ]


def test_weights_that_a_whole_batch_reads_are_one_matrix() -> None:
    x, w = ProgramTensor((6, 5, 8)), ProgramTensor((6, 8, 3), True, "w", 24)
    [row] = rows(
        OperatorCall("bmm", "x", [x, w], [ProgramTensor((6, 5, 3))]), "aten", UnknownOperators()
    )
    assert (row.b, dict(row.sizes)) == ("weight", {"batch": 1, "m": 30, "k": 8, "n": 3})


def test_weights_read_again_are_reused(tmp_path: Path) -> None:
    document = program()
    graph = document["graph_module"]["graph"]
    graph["nodes"].append(node("torch.ops.aten.linear.default", ["y", "w1"], "h", "layers.1.up"))
    listed = read(archive(tmp_path / "a.pt2", document))
    assert [(e.b, e.count.text) for e in listed.entries if e.matmul] == [
        ("weight", "1"),
        ("weight", "1"),
        ("reuse", "1"),
    ]


# What is refused before anything is read


def test_other_files(tmp_path: Path) -> None:
    refuses(str(tmp_path / "absent.pt2"), "does not exist")
    (tmp_path / "a.txt").write_text("x")
    refuses(str(tmp_path / "a.txt"), "unknown kind of file", ".onnx")
    with pytest.raises(InputError, match="elector import"):
        elector.simulate(archive(tmp_path / "a.pt2"), "systolic")


# Classes of transformers

torch_extras = pytest.mark.extras("torch", "transformers")
SMALL = {"vocab_size": 99, "num_hidden_layers": 2}
BERT = {
    **SMALL,
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}
GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 99,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 40,
    "activation_function": "gelu_new",
}
LLAMA = {
    **SMALL,
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


def configured(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


@torch_extras
@pytest.mark.parametrize("config", [BERT, GPT2, LLAMA], ids=lambda c: c["model_type"])
def test_a_class_counts_what_the_reader_counts(tmp_path: Path, config: dict[str, Any]) -> None:
    path, out = configured(tmp_path, config), tmp_path / "model.yaml"
    done = CliRunner().invoke(main, ["import", path, "--out", str(out)])
    assert done.exit_code == 0, done.output
    settings = {"workload.batch": 3, "workload.sequence_length": 37}
    one, other = (elector.simulate(m, "tpu-v4i", settings=settings) for m in (path, str(out)))
    assert other["macs"] == one["macs"]
    assert other["parameters"] == one["parameters"]
    assert other["memory_bytes"]["weights"] == one["memory_bytes"]["weights"]


@torch_extras
def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "modeling_x.py").write_text("raise SystemExit('run')")
    remote = {"auto_map": {"AutoModel": "modeling_x.X"}}
    imported = import_file(configured(tmp_path, BERT | remote))
    assert any("never run" in said for said in imported.said)
    refuses(configured(tmp_path, remote | {"model_type": "x"}), "model_type", "never run")


@torch_extras
@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"model_type": "brt"}, ("no model of this type", "brt")),
        ({}, ("model_type",)),
        ({**BERT, "architectures": ["BertModle"]}, ("architectures", "no such class")),
        ({**BERT, "architectures": ["BertConfig"]}, ("architectures", "no such class")),
        ({**BERT, "hidden_size": "wide"}, ("transformers cannot build it",)),
        ({**BERT, "num_attention_heads": 5}, ("transformers cannot build it",)),
    ],
)
def test_a_bad_config(tmp_path: Path, config: dict[str, Any], parts: tuple[str, ...]) -> None:
    refuses(configured(tmp_path, config), *parts)


@torch_extras
def test_a_config_may_be_long_but_not_endless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = configured(tmp_path, BERT | {"id2label": {str(i): "x" * 90 for i in range(30_000)}})
    assert Path(path).stat().st_size > 3_000_000
    monkeypatch.setattr(limits, "DESCRIPTION", 1_000_000)
    refuses(path, "larger than")


# ONNX

onnx_extra = pytest.mark.extras("onnx")


def onnx_model(folder: Path, nodes: list[Any], sides: list[Any], **weights: Any) -> str:
    """A model of one input x of float numbers with these sides."""
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, sides)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return str(path)


@onnx_extra
def test_an_onnx_file_whose_sizes_pass_through_values(tmp_path: Path) -> None:
    import numpy as np
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="/layers.0/up/MatMul"),
        helper.make_node("Shape", ["h"], ["shape"], name="/s"),
        helper.make_node("Gather", ["shape", "zero"], ["first"], axis=0),
        helper.make_node("Concat", ["first", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["h", "target"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v"], ["y"], name="/head/Gemm", transB=1),
    ]
    weights = {
        "w": np.ones((8, 16), np.float32),
        "v": np.ones((3, 64), np.float32),
        "zero": np.array([0]),
        "rest": np.array([64]),
    }
    listed = read(onnx_model(tmp_path, nodes, ["batch_size", 4, 8], **weights))
    texts = [{key: size.text for key, size in e.sizes} for e in listed.entries if e.matmul]
    assert texts == [{"m": "4 * batch", "k": "8", "n": "16"}, {"m": "batch", "k": "64", "n": "3"}]
    assert listed.parameters == 8 * 16 + 3 * 64


@onnx_extra
@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("NonZero", ("NonZero", "unknown")),
        ("custom", ("mine.Kernel", "none of ONNX's own")),
        ("If", ("control flow", "If")),
        ("LSTM", ("LSTM is not known",)),
    ],
)
def test_a_bad_onnx_file(tmp_path: Path, kind: str, parts: tuple[str, ...]) -> None:
    import numpy as np
    from onnx import helper

    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "b", [], [])
    ones = {name: np.ones((1, 16, 4), np.float32) for name in ("w", "r")}
    node = {
        "NonZero": helper.make_node("NonZero", ["x"], ["y"], name="n"),
        "custom": helper.make_node("Kernel", ["x"], ["y"], domain="mine"),
        "If": helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch),
        "LSTM": helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4),
    }[kind]
    refuses(onnx_model(tmp_path, [node], [2, "n", 4], **ones), *parts, n="4")


@onnx_extra
def test_a_size_of_onnx_without_a_value(tmp_path: Path) -> None:
    from onnx import helper

    path = onnx_model(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], ["batch", 4, "past"])
    refuses(path, "the size past varies", "--symbol past=NUMBER")
    size = read(path, past="7").entries[0].size("elements")
    assert size is not None and size.text == "28 * batch"


@onnx_extra
def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x80\x04garbage")
    refuses(str(path), "is no ONNX model")


@pytest.mark.extras("torch")
def test_what_pytorch_saves(tmp_path: Path) -> None:
    """The archive as PyTorch writes it: tied weights once, attention as its products."""
    import torch

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = torch.nn.Linear(8, 24)
            self.down = torch.nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            q, k, v = self.up(x).chunk(3, dim=-1)
            return self.down(torch.nn.functional.scaled_dot_product_attention(q, k, v))

    sides = {0: torch.export.Dim("b", min=2, max=64), 1: torch.export.Dim("n", min=2, max=512)}
    made = torch.export.export(Layer(), (torch.zeros(3, 16, 8),), dynamic_shapes=(sides,))
    path = str(tmp_path / "layer.pt2")
    torch.export.save(made, path)
    listed = read(path)
    assert listed.parameters == 8 * 24 + 24 + 8 * 8 + 8
    out = tmp_path / "model.yaml"
    done = CliRunner().invoke(main, ["import", path, "--out", str(out)])
    assert done.exit_code == 0, done.output
    result = elector.simulate(str(out), "systolic", settings={"workload.batch": 2})
    tokens = 2 * 128
    assert result["macs"] == tokens * 8 * 24 + 2 * tokens * 128 * 8 + tokens * 8 * 8


@pytest.mark.slow
@pytest.mark.reference
@torch_extras
@pytest.mark.parametrize("kind", ["electra", "deit", "lfm2", "granitemoe", "starcoder2", "marian"])
def test_classes_that_were_counted_independently(
    tmp_path: Path, reference_dir: Path, kind: str
) -> None:
    text = (reference_dir / "hf_models.json").read_text(encoding="utf-8")
    entries = [entry for entry in json.loads(text) if entry["model_type"] == kind]
    entry = min(entries, key=lambda e: int(e["parameters"]))
    imported_model = import_file(
        configured(tmp_path, entry["config"]), class_name=entry["class"]
    ).model
    out = tmp_path / "model.yaml"
    out.write_text(json.dumps(to_mapping(imported_model)))  # JSON is YAML
    result = elector.simulate(str(out), "tpu-v4i", settings={"workload.sequence_length": 128})
    assert result["parameters"] == entry["parameters"]
    assert result["macs"] == entry["macs"]["b1"]
