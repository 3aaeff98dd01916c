"""elector.base.output: every output is found good or refused before anything is written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from elector.base.errors import InputError
from elector.base.output import (
    PICTURES,
    check_output,
    made_folder,
    require_apart,
    save_picture,
)
from elector.cli.commands import main

TRACE = ("trace", "bert-tiny", "tpu-v4i")


@pytest.mark.parametrize("plot", ["-", "p", "p.gif", "p.PNGX", "none/p.png", "."])
def test_a_trace_is_not_written_where_its_picture_cannot_be(
    plot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(main, [*TRACE, "--out", "t.json", "--plot", plot])
    assert ended.exit_code == 2 and "--plot" in ended.stderr, ended.output
    assert not list(tmp_path.iterdir())


def test_a_picture_goes_into_a_device(tmp_path: Path) -> None:
    ended = CliRunner().invoke(
        main, [*TRACE, "--out", str(tmp_path / "t.json"), "--plot", os.devnull]
    )
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "t.json").stat().st_size > 0


@pytest.mark.parametrize("name", ["pipe", "pipe.data"])
def test_a_picture_goes_into_a_pipe_as_png(tmp_path: Path, name: str) -> None:
    pipe, received = tmp_path / name, list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    check_output(pipe, PICTURES, "--plot")
    figure = plt.figure()
    save_picture(figure, pipe, 20)
    plt.close(figure)
    reader.join(20)
    assert received and received[0].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words",
    [
        (*TRACE, "--out", "a.png", "--plot", "./a.png"),
        ("sweep", "t.csv", "--out", "a.csv", "--junit", "sub/../a.csv"),
        ("validate", "--report", "sub", "--junit", "sub/index.html"),
    ],
)
def test_two_outputs_are_two_files(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "t.csv").write_text("model,accelerator\nbert-tiny,systolic\n")
    ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 2 and "names it, too" in ended.stderr, ended.output
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["sub", "t.csv"]


def test_devices_and_what_is_not_given_are_no_files() -> None:
    require_apart({"--out": os.devnull, "--plot": os.devnull, "--junit": None, "--report": None})
    with pytest.raises(InputError, match="another file"):
        require_apart({"--out": "x.png", "--plot": Path("x.png")})


@pytest.mark.parametrize("formats", [PICTURES, (*PICTURES,)])
def test_standard_output_takes_no_picture(formats: tuple[str, ...]) -> None:
    check_output("-", (".csv", ".json"))
    with pytest.raises(InputError, match="unknown kind of file"):
        check_output("-", formats)


@pytest.mark.parametrize("pair, field", [(("", "systolic"), "model"), (("bert-tiny", ""), "accel")])
def test_an_empty_name_is_no_directory(pair: tuple[str, str], field: str) -> None:
    ended = CliRunner().invoke(main, ["simulate", *pair])
    assert ended.exit_code == 2 and field in ended.stderr and "(got '')" in ended.stderr
    assert "directory" not in ended.stderr


LONG = "a" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("validate", "--report", f"new/{LONG}"),
        ("validate", "--report", f"new/deep/{LONG}/page"),
        ("validate", "--report", "new/deep", "--data", "bad.csv"),
        ("validate", "--report", "new/deep", "--junit", "new/deep/index.html"),
        ("validate", "--report", "new/deep", "--only", "no such case"),
        ("validate", "--report", "bad.csv/page"),
        ("validate", "--report", "bad.csv"),
        ("trace", "bert-tiny", "tpu-v4i", "--out", f"new/{LONG}.json"),
        ("report", "bert-tiny", "tpu-v4i", "--out", f"new/{LONG}.html"),
        ("sweep", "bad.csv", "--out", f"new/{LONG}.csv"),
    ],
)
def test_nothing_is_made_where_input_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("case,value\nx,y\n")
    ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 2, (ended.output, ended.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    long, refusal = tmp_path / "there" / "new" / LONG, "--report: cannot be written"
    with pytest.raises(InputError, match=refusal), made_folder(long, "--report"):
        raise AssertionError
    with pytest.raises(KeyboardInterrupt), made_folder(tmp_path / "there" / "new", "--report"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
    with made_folder(tmp_path / "there" / "new", "--report") as folder:
        (folder / "page").write_text("x")
    assert (tmp_path / "there" / "new" / "page").exists()
