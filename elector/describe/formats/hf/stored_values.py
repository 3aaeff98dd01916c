"""Values of the keys that say how weights are stored: read, or refused by their key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from elector.base.errors import InputError

#: What a reader of a method finds: format of the weights, bits of a value, values of a scale.
Stored = tuple[str, float, int]
WHERE = "quantization_config"
LARGEST = 1 << 20
#: Keys that hold one of a few words, which change no sizes, or nothing.
_WORDS = {
    "activation_scheme": "dynamic static",
    "fmt": "e4m3 e4m3fn e5m2 float8_e4m3fn float8_e5m2",
    "activations": "int8 float8",
    "linear_class": "bitlinear autobitlinear",
    "quantization_mode": "offline online",
}


def wrong(
    key: str, value: object, problem: str, file: object, allowed: Iterable[object] | None = None
) -> InputError:
    """What is wrong with a value: what to raise.

    key : below quantization_config. problem : in words. file : that says it. allowed : values.
    """
    # null is said as the file writes it: no value at all would leave it out of the message
    value = "null" if value is None and problem != "is missing" else value
    return InputError(problem, file=file, field=f"{WHERE}.{key}", value=value, allowed=allowed)


def whole_number(value: object) -> int | None:
    """A whole number, also one written as 8.0; None for anything else."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def width_of(value: object, key: str, allowed: Collection[int], file: object) -> int:
    """Bits of a number, one of `allowed`."""
    bits = whole_number(value)
    if bits is None or bits not in allowed:
        problem = "must be a whole number" if bits is None else "unknown width"
        raise wrong(key, value, problem, file, sorted(allowed))
    return bits


def group_size(value: object, key: str, file: object, least: int = 1) -> int:
    """Values of a group; 0 where -1 says that a channel has one scale.

    least : 0 where 0 is a word for one scale of a whole tensor.
    """
    group = whole_number(value)
    if group == -1:
        return 0
    if group is None or not least <= group <= LARGEST:
        problem = "must be a whole number" if group is None else "unknown size of groups"
        raise wrong(key, value, problem, file, [-1, f"{least} to {LARGEST}"])
    return group


def flag_of(entries: Mapping[str, Any], key: str, file: object) -> bool:
    """Whether a key is true; false where it is missing. file : that says it."""
    value = entries.get(key, False)
    if not isinstance(value, bool):
        raise wrong(key, value, "must be true or false", file)
    return value


def require_words(entries: Mapping[str, Any], file: object) -> None:
    """Raise InputError for a word that nobody knows. entries : of a `quantization_config`."""
    for key, words in _WORDS.items():
        if entries.get(key) is not None and entries[key] not in words.split():
            raise wrong(key, entries[key], "unknown value", file, words.split())
