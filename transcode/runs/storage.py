"""A study that several processes share: an Optuna study in a database.

A database may be slow, away or wrong: every conversation has a time limit, and no message shows
a password.
"""

from __future__ import annotations

import importlib.util
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from elector.base.errors import EvaluationError, InputError
from transcode.extras import installing
from transcode.runs import manifest
from transcode.runs.patience import Silent, within
from transcode.space import Space

#: Seconds a worker's sign of life is sent after, and after which a silent worker counts as dead.
HEARTBEAT, GRACE = 10, 60
#: How often a design is tried again whose worker died: it may be the design that kills it.
RETRIES = 3
#: Seconds a storage may take to be opened, and to answer once it is open.
OPENING, ANSWER = 20.0, 60.0
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
#: Drivers that an address may name: what is used anyway.
_UNDERSTOOD = {"sqlite": ("pysqlite",), "postgresql": ("psycopg",), "postgres": ("psycopg",)}
_TYPES = ("postgresql://USER:PASSWORD@HOST:PORT/DATABASE", "sqlite:///FILE")
#: Control characters, and bytes of an argument that are not UTF-8.
_NO_TEXT = re.compile("[\0-\x1f\x7f\ud800-\udfff]")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Address:
    """Where a study lies. `shown` is all that may be printed; `secrets` never are."""

    url: str
    shown: str
    secrets: tuple[str, ...]

    def clean(self, text: str) -> str:
        """The text without passwords, and without the address as it was given."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def given(text: str) -> Address:
    """Reads the address of a storage that somebody asks for, and refuses what is not understood of
    it, so that nothing is opened elsewhere or otherwise than was meant. Raises InputError, which
    never repeats a value.

    text : as `--storage` has it.
    """
    from sqlalchemy.engine import make_url

    odd = InputError("has a character in it that is no text", field="--storage", allowed=_TYPES)
    if _NO_TEXT.search(text):
        raise odd
    where = address(text)
    url = make_url(text)
    parts = (url.database, url.username, url.password, url.host, *map(str, url.query.values()))
    if any(_NO_TEXT.search(part or "") for part in parts):
        raise odd
    if "\ufffd" in (url.database or "") and "\ufffd" not in text:
        raise InputError("is not UTF-8 behind its % signs", field="--storage", allowed=_TYPES)
    kind, _, driver = url.drivername.partition("+")
    if driver not in ("", *_UNDERSTOOD[kind]):
        raise InputError(
            "unknown driver", field="--storage", value=driver, allowed=_UNDERSTOOD[kind]
        )
    if kind == "sqlite" and (url.host or url.username or url.port):
        said = "names a host, and SQLite has files only"
        raise InputError(said, field="--storage", allowed=_TYPES[1:])
    _require_parameters(kind, list(url.query))
    return where


def _require_parameters(kind: str, names: list[str]) -> None:
    """Refuses parameters that the database does not have; their values stay unsaid."""
    known: list[str] = []
    if kind != "sqlite":
        from psycopg import pq

        known = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    for name in names:
        if name not in known:
            raise InputError(
                "unknown parameter of the address" if known else "SQLite takes no parameters here",
                field="--storage",
                value=name,
                allowed=known or None,
                hint=None if known else "sqlite:///FILE, without a question mark",
            )


def address(text: str) -> Address:
    """Reads the address of a storage. Raises InputError, which never repeats what was given.

    text : as `--storage` has it.
    """
    import sqlalchemy
    from sqlalchemy.engine import make_url

    try:
        url = make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(
            "is not the address of a database", field="--storage", allowed=_TYPES
        ) from None
    if "@" in (url.host or ""):  # what stands before it is a piece of the password
        raise InputError(
            "is not the address of a database",
            field="--storage",
            allowed=_TYPES,
            hint="a password with @ in it is written with %40 in its place",
        )
    kind = url.drivername.partition("+")[0]
    if kind not in ("sqlite", *_DRIVERS):
        raise InputError(f"{kind} is not known", field="--storage", allowed=_TYPES)
    if kind == "sqlite" and (url.database or ":memory:") == ":memory:":
        raise InputError("names no file", field="--storage", allowed=_TYPES[1:])
    if kind != "sqlite" and importlib.util.find_spec("psycopg") is None:
        raise InputError(f"needs psycopg: {installing('storage')}", field="--storage")
    hidden = [*([url.password] if url.password else []), *_parameters(url.query)]
    shown = url.set(query={}).render_as_string(hide_password=True)
    full = url.set(drivername=_DRIVERS.get(kind, "sqlite"))
    password = re.search(r"://[^:/@]*:(.*)@", text)
    as_written = [password[1]] if password and password[1] else []
    given = [text] if text != shown else []
    secrets = dict.fromkeys([*map(str, hidden), *as_written, *given])
    return Address(full.render_as_string(hide_password=False), shown, tuple(secrets))


def _parameters(query: Mapping[str, Any]) -> list[str]:
    """Values of the parameters of an address that open a door."""
    return [str(v) for name, v in query.items() if "pass" in name.lower() and "file" not in name]


def limited(seconds: float, where: Address, ask: Callable[[], _Answer]) -> _Answer:
    """What `ask` returns, if within so many seconds. Raises EvaluationError otherwise."""
    try:
        return within(seconds, ask)
    except Silent as error:
        raise EvaluationError(f"{where.shown} {error}") from None
    except Exception as error:
        raise _plain(where, error) from None


def _plain(where: Address, error: Exception) -> Exception:
    """The error of a database on one line without secrets; any other as it is."""
    import optuna
    import sqlalchemy

    if not isinstance(error, sqlalchemy.exc.SQLAlchemyError | optuna.exceptions.OptunaError):
        return error
    inner = error.__cause__ if isinstance(error, optuna.exceptions.OptunaError) else error
    cause = getattr(inner, "orig", None) or inner or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = where.clean(lines[0] if lines else type(cause).__name__)
    return EvaluationError(f"{where.shown}: {text}")


def open_study(where: Address, space: Space, record: Mapping[str, object]) -> tuple[Any, Any]:
    """(storage, study) of the space, made where there is none.

    record : space, space_sha256 and simulator, as in the manifest.

    Raises InputError where the storage cannot be opened or holds another run of that name.
    """
    try:
        return limited(OPENING, where, lambda: _opened(where, space, record))
    except EvaluationError as error:
        raise InputError(str(error), field="--storage") from None


def _opened(where: Address, space: Space, record: Mapping[str, object]) -> tuple[Any, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", "Heartbeat of storage is supposed", UserWarning)
    storage = _storage(where)
    study = optuna.create_study(
        study_name=space.name,
        storage=storage,
        directions=["maximize" if o.maximise else "minimize" for o in space.objectives],
        load_if_exists=True,
    )
    attributes = study.user_attrs
    if "space_sha256" in attributes:
        try:
            seedless = {
                **attributes,
                "seed": record["seed"],
            }  # processes may have seeds of their own
            manifest.refuse_other(where.shown, seedless, record, "another name for the space")
        except InputError as error:
            raise error.at(field="--storage") from None
    elif len(study.get_trials(deepcopy=False)):
        raise InputError(
            f"study {space.name!r} there was not made by transcode search", field="--storage"
        )
    else:
        study.set_metric_names([o.name for o in space.objectives])
        for name in ("space", "simulator", "space_sha256"):  # the last one says that all are there
            study.set_user_attr(name, record[name])
    return storage, study


def _storage(where: Address) -> Any:
    """The storage; processes that start together may all try to make its tables."""
    import optuna
    import sqlalchemy

    postgres = where.url.startswith("postgresql")
    limits = {
        "connect_timeout": int(OPENING / 2),
        "tcp_user_timeout": int(ANSWER * 1000),
        "options": f"-c statement_timeout={int(ANSWER * 1000)}",
    }
    for attempt in range(4):
        try:
            return optuna.storages.RDBStorage(
                where.url,
                engine_kwargs={
                    "connect_args": limits if postgres else {"timeout": ANSWER},
                    "pool_pre_ping": True,
                },
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(
                    RETRIES
                ),
            )
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            if attempt == 3:
                raise
        except sqlalchemy.exc.OperationalError as error:
            if "already exists" not in str(error) or attempt == 3:
                raise
        time.sleep(0.2 * 2**attempt)
    raise AssertionError  # the last attempt returned or raised


class Pulse:
    """Signs of life for the trial a process works on, from a thread of their own.

    Optuna sends them within Study.optimize only; a search asks and tells.
    """

    def __init__(self, storage: Any) -> None:
        self.storage = storage
        self.trial: int | None = None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()

    def of(self, trial: int | None) -> None:
        """The trial that is worked on from now on; None for none."""
        self.trial = trial
        if trial is not None:
            self.storage.record_heartbeat(trial)

    def _beat(self) -> None:
        import sqlalchemy

        while not self.stopped.wait(HEARTBEAT):
            trial = self.trial
            if trial is None:
                continue
            try:
                self.storage.record_heartbeat(trial)
            except sqlalchemy.exc.SQLAlchemyError:
                continue  # the search itself finds out whether the storage is away for good

    def stop(self) -> None:
        """Ends the thread: a trial that is not finished counts as its worker's death."""
        self.trial = None
        self.stopped.set()
