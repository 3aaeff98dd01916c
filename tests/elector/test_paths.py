"""Names from outside: what the system refuses, what may not be read, what says nothing."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import run

from elector.base import paths
from elector.base.errors import EvaluationError, InputError
from elector.base.output import check_output, save_picture, scratch_of, whole


def refuse(error: int) -> OSError:
    return OSError(error, os.strerror(error))


@pytest.mark.parametrize("look", [paths.exists, paths.is_file, paths.is_folder, paths.is_pipe])
@pytest.mark.parametrize("error", [errno.EACCES, errno.ELOOP, errno.EPERM, errno.ENAMETOOLONG])
def test_what_the_system_refuses_is_neither_there_nor_absent(
    monkeypatch: pytest.MonkeyPatch, look: object, error: int
) -> None:
    def refusing(path: object) -> None:
        raise refuse(error)

    monkeypatch.setattr(os, "stat", refusing)
    with pytest.raises(InputError, match=os.strerror(error)) as caught:
        look("folder/name", "--out")  # type: ignore[operator]
    assert (caught.value.file, caught.value.field) == ("folder/name", "--out")


def test_a_failing_machine_is_not_the_name_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "stat", lambda path: (_ for _ in ()).throw(refuse(errno.EIO)))
    with pytest.raises(EvaluationError, match="name: cannot be read: Input/output error"):
        paths.exists("name")


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    for absent in ("nothing", "file/below", "dangling", "n" * 256, "a/" + "n" * 300 + "/b"):
        assert not paths.exists(tmp_path / absent)
    for refused in ("loop", "n\0ame", "n/" * 3000):
        with pytest.raises(InputError, match="cannot be read"):
            paths.exists(tmp_path / refused)
    assert paths.names(tmp_path / "nothing") == paths.names(tmp_path / "file") == []
    assert paths.names(tmp_path, "*l*") == ["dangling", "file", "loop"]


def test_a_file_beside_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m.yaml").touch()
    plan = tmp_path / "a" / "plan.yaml"
    assert paths.beside("m.yaml", plan) == str(tmp_path / "a" / "m.yaml")
    assert paths.beside("m.yaml", None) == "m.yaml"
    assert paths.beside("bert-tiny", plan) == "bert-tiny"
    assert paths.beside("absent.yaml", plan) == "absent.yaml"
    (tmp_path / "m.yaml").touch()
    assert paths.beside("m.yaml", plan) == "m.yaml", "where the command runs comes first"


def test_kinds_and_sizes_are_looked_at_first(tmp_path: Path) -> None:
    large, text = tmp_path / "large", tmp_path / "text"
    with large.open("wb") as stream:
        stream.truncate(1 << 42)  # a hole of 4 TB
    text.write_text("\ufeffabc")
    begin = time.monotonic()
    for path, problem in (
        (large, "is larger than 1.05 MB"),
        (Path("/dev/zero"), "is a device, not a file"),
        (Path(os.devnull), "is a device, not a file"),
        (tmp_path, "is a directory, not a file"),
        (tmp_path / "absent", "cannot be read: No such file or directory"),
    ):
        with pytest.raises(InputError, match=problem):
            paths.read_bytes(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError, match="is a device"):
            paths.read_bytes(tmp_path / "socket")
    assert time.monotonic() - begin < 5
    assert paths.read_text(text) == "abc"
    if Path("/proc/self/environ").exists():  # a file whose size is not told
        assert paths.read_bytes("/proc/self/environ")
        with pytest.raises(InputError, match="is larger than"):
            paths.read_bytes("/proc/self/environ", limit=3)


# ---- pipes


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def say(path: Path, *words: bytes, pause: float = 0.0, stay: float = 0.0) -> threading.Thread:
    """Opens a pipe to write, says each word after a pause, and stays a while."""

    def speak() -> None:
        with path.open("wb", buffering=0) as stream:
            for word in words:
                time.sleep(pause)
                stream.write(word)
            time.sleep(stay)

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    return thread


def test_a_pipe_is_heard_to_its_end_and_remembered(pipe: Path) -> None:
    thread = say(pipe, b"one ", b"two ", b"x" * 200_000, pause=0.05)
    assert paths.read_bytes(pipe) == b"one two " + b"x" * 200_000
    thread.join()
    assert paths.read_bytes(pipe)[:4] == b"one ", "a pipe speaks once"


def test_a_pipe_that_says_nothing_or_does_not_end(
    pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert paths.PATIENCE == 10
    monkeypatch.setattr(paths, "PATIENCE", 0.3)
    begin = time.monotonic()
    with pytest.raises(InputError, match="is a pipe that says nothing within"):
        paths.read_bytes(pipe)
    thread = say(pipe, stay=1.0)  # somebody is there, and silent
    with pytest.raises(InputError, match="says nothing"):
        paths.read_bytes(pipe)
    thread.join()
    thread = say(pipe, b"a", stay=1.5)
    with pytest.raises(InputError, match="does not end"):
        paths.read_bytes(pipe)
    thread.join()
    assert time.monotonic() - begin < 6
    say(pipe, b"x" * 4000)
    with pytest.raises(InputError, match="is larger than"):
        paths.read_bytes(pipe, limit=1000)


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What bash makes of a line in which E is elector and T transcode."""
    # functions: a path with blanks in it is one word
    starts = 'E() { "$PYTHON" -m elector "$@"; }; T() { "$PYTHON" -m transcode "$@"; }; '
    return subprocess.run(
        ["bash", "-c", starts + command],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("E simulate <(printf 'base: encoder\\nlayers: 2\\n') systolic", 0, "latency"),
        pytest.param(
            *('E simulate <(printf \'{"base": "encoder"}\') systolic', 0, "latency"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("E simulate <(printf '{base: encoder}') systolic", 0, "latency"),
            marks=pytest.mark.slow,
        ),
        ('E simulate <(printf \'{"l": 1, "o": ["sa"], "h": [128]\') systolic', 2, "/dev/fd/"),
        pytest.param(
            *("E simulate <(printf 'name,M,N,K\\na,8,8,8\\n') systolic", 0, "latency"),
            marks=pytest.mark.slow,
        ),
        ("E simulate bert-tiny <(printf 'base: systolic\\nrows: 64\\n')", 0, "latency"),
        pytest.param(
            *("E simulate bert-tiny systolic --technology <(printf 'part\\n')", 2, "/dev/fd/"),
            marks=pytest.mark.slow,
        ),
        ("E sweep <(printf 'model,accelerator\\nbert-tiny,systolic\\n') --out -", 0, "bert-tiny"),
        (
            "printf 'model,accelerator\\nbert-tiny,systolic\\n' | E sweep /dev/stdin --out -",
            0,
            "bert-tiny",
        ),
        (
            "E run <(printf 'model: bert-tiny\\nphases: [{steps: 1, accelerator: systolic}]\\n')",
            0,
            "phase 1",
        ),
        ("E simulate <(true) systolic", 2, "is empty"),
        pytest.param(
            *("E simulate <(printf 'x: 1') systolic", 2, "unknown key"), marks=pytest.mark.slow
        ),
        ("E simulate /dev/zero systolic", 2, "is a device, not a file"),
        ("E sweep /dev/zero --out -", 2, "is a device, not a file"),
        (
            "T search <(printf 'model: bert-tiny\\naccelerator: {base: systolic, rows: [16, 32]}\\n"
            "objectives: {latency_s: min}\\n') --out run --quiet",
            0,
            "files in run: front.csv",
        ),
    ],
)
def test_the_shells_process_substitution(
    tmp_path: Path, command: str, code: int, words: str
) -> None:
    done = shell(command, tmp_path)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert words in (done.stdout if code == 0 else done.stderr)
    assert "Traceback" not in done.stderr


# ---- files that are written


def test_long_names_of_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that fits is written, however long; one that does not is refused before any work."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("model,accelerator\nbert-tiny,systolic\n")
    fits, longer = "n" * 251 + ".csv", "n" * 252 + ".csv"
    assert run("sweep", "t.csv", "--out", fits).exit_code == 0
    assert sorted(os.listdir(tmp_path)) == [fits, "t.csv"]
    done = run("sweep", "t.csv", "--out", longer)
    assert done.exit_code == 2 and "cannot be written: File name too long" in done.stderr
    for out in ("d/" * 2100 + "x.csv", longer, "n\0.csv"):
        with pytest.raises(InputError, match="cannot be written"):
            check_output(out, (".csv",))
    assert len(os.fsencode(scratch_of(Path("ä" * 120)).name)) <= 255


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    full = pytest.raises(EvaluationError, match=r"a\.txt: cannot be written: No space")
    with full, whole(path) as target:
        target.write_text("half")
        raise refuse(errno.ENOSPC)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with whole(path) as target:
        target.write_text("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(InputError, match="cannot be written"):
        save_picture(_Figure(), tmp_path / "a.nonsense", 100)
    assert os.listdir(tmp_path) == ["a.txt"]


class _Figure:
    def findobj(self, kind: object) -> list[object]:
        return []

    def savefig(self, *arguments: object, **more: object) -> None:
        raise ValueError("no such format")
