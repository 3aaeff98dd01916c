"""elector.base.output: every output is found good or refused before anything is written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from elector.base.errors import InputError
from elector.base.output import PICTURES, check_output, require_apart, save_picture
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
