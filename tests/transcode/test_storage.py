"""Several searches on one study in a database: SQLite for the quick tests, PostgreSQL for real."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from click.testing import CliRunner
from search_fakes import SMALL, fake

import transcode
from elector.base.errors import EvaluationError, InputError
from transcode.cli import main
from transcode.runs import storage

PASSWORD = "s3cret-p@ss"
QUOTED = "s3cret-p%40ss"


def search(small: dict[str, Any], folder: Path, url: str, budget: int) -> transcode.Result:
    return transcode.search(
        small, sampler="nsga2", budget=budget, out=folder, evaluator=fake, storage=url
    )


def designs_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "designs")


def settings(frame: pd.DataFrame) -> set[tuple[object, ...]]:
    names = [n for n in frame.columns if n.startswith(("model", "accelerator"))]
    return set(frame[names].itertuples(index=False, name=None))


@pytest.mark.slow
def test_two_folders_hold_the_designs_of_both(small: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = search(small, tmp_path / "a", url, 8)
    second = search(small, tmp_path / "b", url, 14)
    assert first.manifest["designs"] == 8 and second.manifest["designs"] == 14
    assert first.manifest["storage"] == url and first.manifest["batch"] == 1
    a, b = designs_of(tmp_path / "a"), designs_of(tmp_path / "b")
    assert len(settings(b)) == len(b) == 14, "a design was evaluated twice"
    assert settings(a) < settings(b)
    again = search(small, tmp_path / "a", url, 14)
    assert again.manifest["designs"] == 14
    np.testing.assert_array_equal(again.front.objectives, second.front.objectives)
    assert settings(designs_of(tmp_path / "a")) == settings(b)


@pytest.mark.slow
def test_a_lost_folder_comes_back_from_the_storage(small: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    before = search(small, tmp_path / "a", url, 10)
    shutil.rmtree(tmp_path / "a")
    after = search(small, tmp_path / "a", url, 10)
    assert after.manifest["designs"] == 10
    np.testing.assert_array_equal(after.front.objectives, before.front.objectives)


@pytest.mark.slow
def test_the_study_is_optunas_own(small: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    result = search(small, tmp_path / "a", url, 10)
    study = optuna.load_study(study_name="small", storage=url)
    evaluated = [t for t in study.get_trials() if "results" in t.user_attrs]
    assert len(evaluated) == 10
    assert study.metric_names == ["latency_s", "energy_j"]
    assert {"machine", "area_mm2 <= 120"} <= set(evaluated[0].constraints)
    best = np.array(sorted(t.values for t in study.best_trials if "results" in t.user_attrs))
    np.testing.assert_array_equal(best, result.front.objectives)


@pytest.mark.slow
def test_another_space_is_refused_with_the_difference(
    small: dict[str, Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    search(small, tmp_path / "a", url, 3)
    small["accelerator"] = dict(small["accelerator"], rows=[16, 32])
    with pytest.raises(InputError, match=r"accelerator\.rows: \[16, 32, 64, 128\] there"):
        search(small, tmp_path / "b", url, 3)
    assert not (tmp_path / "b").exists()


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_trial_that_was_half_told_is_told_again_without_a_word(
    small: dict[str, Any], tmp_path: Path
) -> None:
    """As after a process that was killed between the constraints and the values of a trial."""
    url = f"sqlite:///{tmp_path / 'study.db'}"

    def half(columns: Any, size: int) -> Any:
        if size == 1:
            study = optuna.load_study(study_name="small", storage=url)
            running = study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
            for trial in running:
                key = "constraints:area_mm2 <= 120"
                study._storage.set_trial_system_attr(trial._trial_id, key, 0.0)
        return fake(columns, size)

    result = transcode.search(
        small, sampler="nsga2", budget=3, out=tmp_path / "a", evaluator=half, storage=url
    )
    assert result.manifest["designs"] == 3


def test_somebody_elses_study_is_left_alone(small: dict[str, Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="small", storage=url, directions=["minimize"] * 2)
    study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    with pytest.raises(InputError, match="not made by transcode search"):
        search(small, tmp_path / "a", url, 3)
    assert len(study.get_trials()) == 1


@pytest.mark.slow
def test_a_run_with_and_one_without_storage_do_not_mix(
    small: dict[str, Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    search(small, tmp_path / "a", url, 3)
    with pytest.raises(InputError, match=r"storage: sqlite.* there, nothing asked for"):
        transcode.search(small, sampler="nsga2", out=tmp_path / "a", evaluator=fake)
    with pytest.raises(InputError, match="works with Optuna's samplers"):
        transcode.search(small, sampler="evolve", out=tmp_path / "b", storage=url, evaluator=fake)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://anna:{QUOTED}@127.0.0.1:1/studies",
        f"postgresql://anna:{PASSWORD}@127.0.0.1:1/studies",
        f"postgresql://anna@127.0.0.1:1/studies?password={QUOTED}",
        f"postgresql:/anna:{PASSWORD}@127.0.0.1:1/studies",
        f"postgresql://anna:{PASSWORD}@127.0.0.1:port/studies",
        f"mysql://anna:{PASSWORD}@127.0.0.1/studies",
        f"nonsense {PASSWORD}",
    ],
)
@pytest.mark.extras("psycopg")
def test_no_message_shows_the_password(text: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for arguments, environment in (
        (["--storage", text], {}),
        ([], {"TRANSCODE_STORAGE": text}),
    ):
        said = CliRunner().invoke(
            main, ["search", "smoke", "--out", str(out), *arguments], env=environment
        )
        assert said.exit_code == 2, said.output
        assert PASSWORD not in said.output and QUOTED not in said.output
        assert "--storage" in said.output
    assert not out.exists()


@pytest.mark.parametrize("host", ["host", "host:5432", "10.0.0.1"])
def test_a_password_that_could_be_read_in_two_ways(host: str, tmp_path: Path) -> None:
    """Of `p@ss@host` a reader takes `ss@host` for the host, and would show it."""
    text = f"postgresql://me:pas@kitten@{host}/runs"
    with pytest.raises(InputError) as caught:
        storage.address(text)
    said = str(caught.value)
    assert "%40" in said and "kitten" not in said and "pas@" not in said and host not in said
    if importlib.util.find_spec("psycopg"):
        fine = storage.address(text.replace("pas@", "pas%40"))
        assert fine.shown == f"postgresql://me:***@{host}/runs"


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_no_storage(text: str) -> None:
    with pytest.raises(InputError, match="names no file"):
        storage.address(text)


def test_the_address_that_is_shown_has_no_password() -> None:
    where = storage.address("sqlite:///a.db?password=hush")
    assert "hush" not in where.shown
    assert "hush" not in where.clean("cannot open sqlite:///a.db?password=hush: hush")


@pytest.mark.extras("psycopg")
def test_a_server_that_says_nothing_is_given_up(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "OPENING", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://anna:{QUOTED}@127.0.0.1:{server.getsockname()[1]}/studies"
        begin = time.monotonic()
        with pytest.raises(InputError, match=r"did not answer within 0\.5 s") as refused:
            search(small, tmp_path / "a", url, 3)
        assert time.monotonic() - begin < 10.0
    assert PASSWORD not in str(refused.value) and QUOTED not in str(refused.value)
    assert not (tmp_path / "a").exists()


def drip(server: socket.socket) -> None:
    """Answers whoever connects, no encryption first, by a byte now and then, and never whole."""
    try:
        connection, _ = server.accept()
        with connection:
            connection.recv(8)
            connection.sendall(b"N")
            for byte in b"R\x00\x00\x00\x40" + bytes(60):
                time.sleep(1.0)
                connection.sendall(bytes([byte]))
    except OSError:
        pass  # given up, as it should be


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silent", "drips", "closes", "absent"])
@pytest.mark.extras("psycopg")
def test_an_address_without_a_database(tmp_path: Path, kind: str) -> None:
    """As a user meets it, with the time limits as they are: refused, and no password anywhere."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if kind == "absent":
            server.close()
        elif kind == "drips":
            threading.Thread(target=drip, args=(server,), daemon=True).start()
        elif kind == "closes":
            threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        url = f"postgresql://anna:{QUOTED}@127.0.0.1:{port}/studies"
        begin = time.monotonic()
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from transcode.cli import main; main()",
                "search",
                "smoke",
                "--out",
                "run",
            ],
            env={**os.environ, "TRANSCODE_STORAGE": url, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        spent = time.monotonic() - begin
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"Error: --storage: postgresql://anna:***@127.0.0.1:{port}/")
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert spent < storage.OPENING + 15.0, "the limit, and what starting the program takes"
    for secret in (PASSWORD, QUOTED):
        assert secret not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.extras("psycopg")
def test_a_run_whose_database_says_nothing_stays_as_it_is(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(small, tmp_path / "a", f"sqlite:///{tmp_path / 'study.db'}", 4)
    monkeypatch.setattr(storage, "OPENING", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://anna:{QUOTED}@127.0.0.1:{server.getsockname()[1]}/studies"
        manifest = tmp_path / "a" / "manifest.json"
        other = json.loads(manifest.read_text()) | {"storage": storage.address(url).shown}
        manifest.write_text(json.dumps(other))
        before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
        with pytest.raises(InputError, match="did not answer within"):
            search(small, tmp_path / "a", url, 8)
    assert {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()} == before
    assert not any(s.encode() in b for s in (PASSWORD, QUOTED) for b in before.values())


def test_a_limited_question_returns_raises_or_ends() -> None:
    where = storage.address("sqlite:///a.db")
    assert storage.limited(1.0, where, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        storage.limited(1.0, where, lambda: 1 // 0)
    with pytest.raises(EvaluationError, match="did not answer"):
        storage.limited(0.05, where, lambda: time.sleep(1.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sqlite:///q%00.db", "has a character in it that is no text"),
        ("sqlite:///q%0a.db", "has a character in it that is no text"),
        (os.fsdecode(b"sqlite:///q\xff.db"), "has a character in it that is no text"),
        ("sqlite:///q%ff.db", "is not UTF-8 behind its % signs"),
        ("sqlite:///x.db?timeout=abc", "SQLite takes no parameters here (got 'timeout')"),
        ("sqlite:///x.db?mode=ro", "SQLite takes no parameters here (got 'mode')"),
        ("sqlite:///x.db?foo=bar", "SQLite takes no parameters here (got 'foo')"),
        ("sqlite+foo:///x.db", "unknown driver (got 'foo')"),
        ("sqlite+aiosqlite:///x.db", "unknown driver (got 'aiosqlite')"),
        ("sqlite://host/x.db", "names a host"),
        ("sqlite://anna:hush@/x.db", "names a host"),
    ],
)
@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_what_is_not_understood_is_refused(
    tmp_path: Path, text: str, words: str, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(json.dumps(SMALL))
    asked = ("search", "tiny.yaml", "--out", "run", "--sampler", sampler, "--storage", text)
    ended = CliRunner().invoke(main, asked)
    assert ended.exit_code == 2 and words in ended.stderr, (ended.output, ended.exception)
    assert "hush" not in ended.output and "sqlalchemy" not in ended.output
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_driver_that_is_used_anyway_may_be_named() -> None:
    assert storage.given("sqlite+pysqlite:///a.db").url == "sqlite:///a.db"
    assert storage.given("sqlite:///Größe.db").shown == "sqlite:///Gr%C3%B6%C3%9Fe.db"


@pytest.mark.extras("psycopg")
@pytest.mark.parametrize("query", ["foo=hush", "sslmode=require&foo=hush"])
def test_parameters_of_postgresql_are_known_ones(query: str) -> None:
    storage.given("postgresql://anna@h/d?sslmode=require&application_name=x")
    with pytest.raises(InputError, match="unknown parameter of the address") as error:
        storage.given(f"postgresql://anna@h/d?{query}")
    assert "foo" in str(error.value) and "hush" not in str(error.value)
