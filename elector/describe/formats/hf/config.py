"""A configuration with checked access, which knows the keys that were read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from elector.base.errors import InputError
from elector.describe.formats.described import whole

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu",
    "gelu_fast": "gelu",
    "gelu_python": "gelu",
    "gelu_10": "gelu",
    "gelu_accurate": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "quick_gelu": "gelu",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
    "swiglu": "silu",
    "swigluoai": "silu",
    "tanh": "tanh",
    "xielu": "xielu",
}


class Config:
    """Entries of a configuration under the names of most classes; errors name file and key.

    names : canonical name -> the file's own, where a class has another. defaults : canonical
    name -> what the class takes where the file is silent. honours : canonical names that the
    class reads; others are not there for it. read : own names that were asked for.
    """

    def __init__(
        self,
        entries: Mapping[str, Any],
        file: object,
        names: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        honours: frozenset[str] = frozenset(),
        prefix: str = "",
    ) -> None:
        self.entries, self.file, self.prefix, self.honours = entries, file, prefix, honours
        self.names, self.defaults = dict(names or {}), dict(defaults or {})
        self.read: set[str] = set()

    def name(self, key: str) -> str:
        """The file's own name of a key: of several that a class may have, the one that is there."""
        first, *others = self.names.get(key, key).split("|")
        there = [name for name in (first, *others) if name in self.entries]
        if len(there) > 1 and any(self.entries[n] != self.entries[there[0]] for n in there):
            raise InputError(
                f"says another thing than {there[0]}",
                file=self.file,
                field=self.prefix + there[1],
                value=self.entries[there[1]],
            )
        return there[0] if there else first

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it stands; that of the class, or `default`, where absent or null."""
        if key not in self.honours:
            return self.defaults.get(key, default)
        own = self.name(key)
        self.read.add(own)
        value = self.entries.get(own)
        if value is not None:
            return value
        # What is written down as null is not what the class takes where nothing is written.
        silent = own not in self.entries
        return self.defaults.get(key, default) if silent else default

    def has(self, key: str) -> bool:
        """Whether the file gives a value."""
        if key not in self.honours:
            return False
        self.read.add(self.name(key))
        return self.entries.get(self.name(key)) is not None

    def fail(self, message: str, key: str, **more: Any) -> InputError:
        """An error about a key.

        key : what is wrong. message : in words. more : further fields of the error.
        """
        return InputError(message, file=self.file, field=self.prefix + self.name(key), **more)

    def number(self, key: str, default: int | None = None, low: int = 1) -> int:
        """A whole number; `default` where the key is absent or null.

        key : where it stands. low : least that is allowed.
        """
        value = self.get(key)
        if value is None:
            if default is None:
                raise self.fail("is missing", key)
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail("must be a whole number", key, value=value)
        if isinstance(value, float) and not math.isfinite(value):  # whole ones: seen to by `whole`
            raise self.fail("must be finite", key, value=value)
        if value == 0 and low == 0:
            return 0
        own = self.prefix + self.name(key)
        return whole({own: value}, own, self.file)

    def flag(self, key: str, default: bool) -> bool:
        """A boolean; `default` where the key is absent. To a class, null is false."""
        value = self.get(key)
        if value is None:
            written = key in self.honours and self.name(key) in self.entries
            return default and not written
        if not isinstance(value, bool):
            raise self.fail("must be true or false", key, value=value)
        return value

    def share(self, key: str, default: float) -> float:
        """A number from 0 to 1.

        key : where it stands. default : where it is absent.
        """
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.fail("must be from 0 to 1", key, value=value)
        return float(value)

    def drops(self, *keys: str) -> bool:
        """Whether any of these probabilities is above 0 (absent: 0.1, as in most classes)."""
        rates = [self.share(key, 0.1) for key in keys if key in self.honours]
        return any(rate > 0 for rate in rates)

    def texts(self, key: str, allowed: tuple[str, ...], length: int) -> list[str] | None:
        """A list of `length` words of those allowed; None where the key is absent or null."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail("must be a list of words", key, value=value)
        for word in value:
            if word not in allowed:
                raise self.fail("is not supported", key, value=word, allowed=allowed)
        if len(value) != length:
            raise self.fail(f"has {len(value)} entries for {length} layers", key)
        return value

    def flags(self, key: str, length: int) -> list[bool] | None:
        """A list of `length` truths (also written 0 and 1); None where absent or null."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(
            isinstance(v, int) and v in (0, 1) for v in value
        ):
            raise self.fail("must be a list of 0 and 1", key, value=value)
        if len(value) != length:
            raise self.fail(f"has {len(value)} entries for {length} layers", key)
        return [bool(v) for v in value]

    def places(self, key: str, length: int) -> list[int]:
        """A list of layers, counted from 0; empty where the key is absent or null.

        key : where it stands. length : number of layers.
        """
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(
            isinstance(v, int) and not isinstance(v, bool) and 0 <= v < max(length, 1)
            for v in value
        ):
            raise self.fail(f"must be a list of layers from 0 to {length - 1}", key, value=value)
        return value

    def activation(self, key: str, default: str | None = None) -> str:
        """Our name of the activation function.

        key : where it stands. default : where it is absent; None where it must not be.
        """
        value = self.get(key, default)
        if value is None:
            raise self.fail("is missing", key)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self.fail("unknown activation", key, value=value, allowed=ACTIVATIONS)
        return ACTIVATIONS[value]

    def expect(self, key: str, *allowed: object) -> None:
        """Refuse a value that makes another architecture; absent is fine where the class takes
        one of these then.

        key : where it stands. allowed : the values that make no other architecture.
        """
        own = self.name(key)
        self.read.add(own)
        there = own in self.entries
        if not there and key not in self.defaults:
            return
        given = self.entries[own] if there else self.defaults[key]
        if any(given == value and type(given) is type(value) for value in allowed):
            return
        problem = "is not supported" if there else f"is missing: the class takes {given}, which"
        raise self.fail(
            problem if there else f"{problem} is not supported", key, value=given, allowed=allowed
        )

    def inner(self, key: str) -> Mapping[str, Any]:
        """A mapping inside the configuration."""
        value = self.get(key)
        if not isinstance(value, dict):
            raise self.fail("is missing" if value is None else "must be a mapping", key)
        return value
