"""study.log: an Optuna journal with the run's front, for its dashboard and its samplers.

Optuna's own file backend flushes the disk for every trial, and reads each one back; here the
journal is written straight through, and flushed once.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from elector.base.table import Scalar
from transcode.runs.files import replace_file
from transcode.space import Parameter, Space

#: Most trials of the study of a run whose sampler is not Optuna's.
LIMIT = 2000
#: ... and most settings in all of them: writing one takes some 30 us, reading it, too.
_SETTINGS, _LEAST = 100_000, 200


@dataclass(frozen=True)
class StudyTrial:
    """A design as Optuna sees it. codes : (S,); values in the user's directions."""

    codes: np.ndarray
    values: list[float]
    constraints: Mapping[str, float]
    attributes: Mapping[str, object] = field(default_factory=dict)


class _Written:
    """A journal backend (optuna.storages.journal.BaseJournalBackend) that writes as it is told.

    read_back : whether the storage is shown what it wrote. What it makes of the study it needs
    to know; of the trials nobody asks, and reading them back is most of the work.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.read_back = True
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        yield from self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        for log in logs:
            line = json.dumps(log, separators=(",", ":"))
            self.stream.write(line + "\n")
            if self.read_back:
                self.logs.append(json.loads(line))  # a reader must get copies, as from a file


def choices(parameter: Parameter) -> tuple[Scalar, ...]:
    """The values as Optuna sees them: alternatives of the same base are told apart."""
    values = parameter.values
    if len(set(values)) == len(values):
        return values
    return tuple(f"{value}@{code}" for code, value in enumerate(values))


def distribution(parameter: Parameter) -> Any:
    """The Optuna distribution of a parameter's own values."""
    import optuna

    values = parameter.values
    if parameter.scale == "choice":
        return optuna.distributions.CategoricalDistribution(choices(parameter))
    log = parameter.scale == "log"
    low, high = values[0], values[-1]
    if isinstance(low, int) and isinstance(high, int):
        return optuna.distributions.IntDistribution(low, high, log=log)
    return optuna.distributions.FloatDistribution(float(low), float(high), log=log)


def limit(space: Space) -> int:
    """Most trials of such a study: fewer where designs have hundreds of parameters."""
    free = sum(p.size > 1 for p in space.parameters)
    return min(LIMIT, max(_LEAST, _SETTINGS // max(free, 1)))


def frozen(space: Space, distributions: list[Any], trial: StudyTrial) -> Any:
    """The optuna.trial.FrozenTrial of a design: the parameters its alternatives have.

    distributions : of Optuna, one a parameter.
    """
    import optuna

    chosen = chosen_columns(space, trial.codes)
    made = optuna.trial.create_trial(
        values=trial.values,
        constraints=dict(trial.constraints),
        user_attrs=dict(trial.attributes),
    )
    # Given at once, each would be compared with all that an older Optuna wrote.
    made.params = {
        space.parameters[c].label: choices(space.parameters[c])[trial.codes[c]] for c in chosen
    }
    made.distributions = {space.parameters[c].label: distributions[c] for c in chosen}
    return made


def chosen_columns(space: Space, codes: np.ndarray) -> list[int]:
    """Columns of one design that belong to its alternatives and have more than one value."""
    columns: list[int] = []
    for section in space.sections:
        group = 0
        if section.selector >= 0:
            columns.append(section.selector)
            group = section.groups[codes[section.selector]]
        columns += section.members[group]
    return [c for c in columns if space.parameters[c].size > 1]


def write(
    path: Path,
    space: Space,
    trials: Iterable[Any],
    attributes: Mapping[str, object],
    system: Mapping[str, Any] | None = None,
) -> None:
    """Replaces the journal.

    trials : optuna FrozenTrials, taken one by one. attributes : of the study. system : what a
    sampler noted.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            _fill(_Written(stream), space, trials, attributes, system or {})

    replace_file(path, fill)


def _fill(
    backend: _Written,
    space: Space,
    trials: Iterable[Any],
    attributes: Mapping[str, object],
    system: Mapping[str, Any],
) -> None:
    """Writes a whole study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.JournalStorage(backend)  # type: ignore[arg-type]
    study = optuna.create_study(
        study_name=space.name,
        storage=storage,
        directions=["maximize" if o.maximise else "minimize" for o in space.objectives],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([o.name for o in space.objectives])
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    identity = storage.get_study_id_from_name(space.name)
    for name, value in system.items():
        storage.set_study_system_attr(identity, name, value)
    for trial in trials:
        study.add_trial(trial)
        backend.read_back = False  # the first one a storage looks for, to know that there are some
