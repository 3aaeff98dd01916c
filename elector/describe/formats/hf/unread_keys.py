"""Keys of a configuration that nobody reads, and that may change something: all of them at once."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elector.base.errors import InputError, nearest
from elector.describe.formats.hf.types import kinds, neutral

#: Keys of all classes that make another architecture where they are not off.
_SWITCHES = frozenset(
    {"pruned_heads", "is_decoder", "add_cross_attention", "is_encoder_decoder", "num_reward_heads"}
)
#: Values of a key that say that there is no such thing.
_OFF: tuple[object, ...] = (None, False, 0, "", [], {})
#: Least share of letters that a key and the one it may be meant for have in common.
_ALIKE = 0.75
#: How many further keys a refusal names.
_MOST = 40


@dataclass(frozen=True)
class UnreadKey:
    """A key that was not read.

    field : with the part of the file that it is in. key : alone. value : what it holds.
    kind : the type whose class does not read it. elsewhere : whether another class reads it.
    meant : a key that the class reads and that is spelled alike, or None.
    """

    field: str
    key: str
    value: object
    kind: str
    elsewhere: bool
    meant: str | None

    @property
    def on(self) -> bool:
        """Whether its value says that there is something."""
        return not _is_off(self.value)


def unread_keys(
    entries: Mapping[str, Any], read: Collection[str], prefix: str, kind: str
) -> list[UnreadKey]:
    """Keys that were not read, that may change something, and that are not off.

    entries : of a configuration, or of a part of it. read : keys that change nothing or were read.
    prefix : of the part. kind : its type.
    """
    known = _architecture_keys() | _SWITCHES
    own = kinds()[kind].own if kind in kinds() else frozenset(read)
    return [
        UnreadKey(
            prefix + key,
            key,
            value,
            kind,
            key in known,
            nearest(key, own - set(entries), _ALIKE),
        )
        for key, value in entries.items()
        if key not in read
        and not neutral().fullmatch(key)
        and not (key in known and _is_off(value))
    ]


def refusal(unread: Sequence[UnreadKey], file: object) -> InputError:
    """What to raise for keys that were not read: the first, and all others by name.

    unread : at least one. file : that has them.
    """
    first, others = unread[0], unread[1:]
    what = (
        f"is not read by the class of {first.kind}, and would change the architecture"
        if first.elsewhere
        else f"is not known of {first.kind}: nobody can say what it changes"
    )
    meant = f"; did you mean {first.meant}?" if first.meant else ""
    for elsewhere, word in ((True, "not read by the class"), (False, "not known")):
        named = [key.field for key in others if key.elsewhere is elsewhere]
        if named:
            more = f" and {len(named) - _MOST} more" if len(named) > _MOST else ""
            meant += f"; {'also ' if elsewhere is first.elsewhere else ''}{word}: "
            meant += ", ".join(named[:_MOST]) + more
    keys = dict.fromkeys(key.key for key in unread[: _MOST + 1])
    them = "it" if len(keys) == 1 else "they"
    return InputError(
        what + meant,
        file=file,
        field=first.field,
        value=first.value,
        hint=f"{' '.join(f'--ignore-key {key}' for key in keys)} "
        f"reads the configuration as if {them} were not there",
    )


def _is_off(value: object) -> bool:
    return any(value == none and type(value) is type(none) for none in _OFF)


@functools.cache
def _architecture_keys() -> frozenset[str]:
    """Keys that any type reads, under the names of files."""
    return frozenset().union(*(kind.own for kind in kinds().values()))
