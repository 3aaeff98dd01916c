"""The machines: one module or package a kind, listed here and nowhere else.

In come the operations of a block and the settings of its designs (`contract.Units`), out come
seconds, counts of actions and limits (`activity.Activity`), never a joule or a square metre. A new
machine is a module, a schema and a line here (docs/adding-a-machine.md). A kind is imported when
it is asked for, so that a command loads the machine it needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from elector.machines.contract import Machine

#: Kind -> name of its `Machine` in the module of the same name.
KINDS = {
    "systolic": "SYSTOLIC",
    "acceltran": "ACCELTRAN",
    "gpu": "GPU",
    "reram": "RERAM",
}


class _Machines(Mapping[str, Machine]):
    """Kind -> Machine."""

    def __getitem__(self, kind: str) -> Machine:
        name = KINDS[kind]
        machine = getattr(importlib.import_module(f"elector.machines.{kind}"), name)
        assert isinstance(machine, Machine)
        return machine

    def __contains__(self, kind: object) -> bool:
        return isinstance(kind, str) and kind in KINDS

    def __iter__(self) -> Iterator[str]:
        return iter(KINDS)

    def __len__(self) -> int:
        return len(KINDS)


MACHINES: Mapping[str, Machine] = _Machines()
