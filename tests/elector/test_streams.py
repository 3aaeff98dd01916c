"""The streams of both programs, by themselves; tests/test_standard_streams.py has them at work."""

from __future__ import annotations

import io
import os
import threading
from typing import Any

import pytest
from click.testing import CliRunner

from elector.cli import main, streams

KEPT: list[io.TextIOWrapper] = []


def over(descriptor: int, encoding: str, kind: type[Any]) -> Any:
    """What `open_streams` puts in the place of a stream of that encoding, unbuffered."""
    raw = io.FileIO(descriptor, "w", closefd=False)
    replaced = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    replacement = streams._over(replaced, descriptor, kind)
    KEPT.append(replaced)  # as `sys.__stdout__` is, which closes the file with itself
    return replacement


@pytest.fixture(autouse=True)
def known_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codec and the errors that `open_streams` registers; the streams stay pytest's."""
    monkeypatch.setattr(streams, "_over", lambda stream, *rest: stream)
    streams.open_streams()
    monkeypatch.undo()


def test_a_stream_that_is_not_a_files_stays() -> None:
    stream = io.StringIO()
    assert streams._over(stream, 1, streams._Results) is stream


def test_a_reader_slower_than_a_descriptor_that_does_not_wait_gets_everything() -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    text, pieces = "0123456789" * 100_000, []

    def read() -> None:
        with open(reads, encoding="ascii") as stream:
            while some := stream.read(4096):
                pieces.append(some)

    thread = threading.Thread(target=read)
    thread.start()
    stream = over(writes, "utf-8", streams._Results)
    stream.write(text)
    stream.flush()
    os.close(writes)
    thread.join(30)
    assert "".join(pieces) == text


def test_an_error_of_output_has_a_name_and_one_of_messages_is_none() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    results = over(writes, "utf-8", streams._Results)
    with pytest.raises(BrokenPipeError) as caught:
        results.write("a line\n")  # unbuffered streams go line by line
    assert streams.of_standard_output(caught.value) and streams.unwritten(caught.value) == ""
    assert not streams.of_standard_output(BrokenPipeError(32, "Broken pipe"))
    full = OSError(28, "No space left on device", streams.STANDARD_OUTPUT)
    assert "standard output: cannot be written: No space" in streams.unwritten(full)
    messages = over(writes, "utf-8", streams._Messages)
    assert messages.write("a line\n") == 7
    messages.flush()
    os.close(writes)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"3 +- 1 x um2 >= \xe9 \u03bb \udcff"),
        ("latin-1", r"3 ± 1 × um² >= é \u03bb \udcff"),
        ("utf-8", r"3 ± 1 × μm² ≥ é λ \udcff"),
    ],
)
def test_a_character_that_an_encoding_lacks_is_spelled_out(encoding: str, shown: str) -> None:
    reads, writes = os.pipe()
    stream = over(writes, encoding, streams._Results)
    stream.write("3 ± 1 × μm² ≥ é λ \udcff")
    stream.flush()
    os.close(writes)
    with open(reads, "rb") as file:
        assert file.read().decode(encoding) == shown


@pytest.mark.parametrize("action", ["parse_args", "invoke"])
def test_ctrl_c_has_one_meaning_wherever_it_comes(
    action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(main).__mro__[1], action, interrupted)
    done = CliRunner().invoke(main, ["list", "models"], standalone_mode=True)
    assert done.exit_code == 130 and done.stderr.endswith("interrupted\n")


def test_a_connection_that_breaks_is_no_reader_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """click ends without a word on every broken pipe, and this one is not standard output's."""

    def broken() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("elector.studies.listing.models", broken)
    done = CliRunner().invoke(main, ["list", "models"])
    assert (done.exit_code, done.stderr) == (1, "Error: connection broken: Broken pipe\n")
