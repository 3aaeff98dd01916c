"""Saved tensors kept compressed, and what they take, measured as autograd saves them.

torch.autograd.graph.saved_tensors_hooks hands over every tensor that waits for the backward
pass. Parameters are left alone and not counted; a tensor saved twice is kept once; what is
dense, small or of another type stays as it is. Inside gradient checkpointing PyTorch's own
hooks come first: what it throws away never arrives here.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from transcode.dynaprop.packing import Compressed, compress, decompress, worth

#: Elements below which compressing is not worth the call.
_SMALL = 4096
#: Density above which values and bitmask save too little.
_DENSE = 0.9

Key = tuple[int, int, tuple[int, ...], tuple[int, ...], torch.dtype, int]


class Ledger:
    """Bytes of saved tensors: held now, and at most, and what they were before compression."""

    def __init__(self) -> None:
        self.held = self.peak = self.dense_held = self.dense_peak = 0

    def add(self, held: int, dense: int) -> None:
        """Notes bytes that begin to be held."""
        self.held = held = self.held + held
        self.dense_held = dense = self.dense_held + dense
        if held > self.peak:
            self.peak = held
        if dense > self.dense_peak:
            self.dense_peak = dense

    def restart(self) -> None:
        """Peaks count from what is held now."""
        self.peak, self.dense_peak = self.held, self.dense_held


class Kept:
    """One saved tensor, alive as long as the graph that needs it."""

    __slots__ = ("__weakref__", "content", "dense", "held", "ledger")

    def __init__(self, content: Tensor | Compressed, ledger: Ledger, held: int, dense: int) -> None:
        self.content, self.ledger, self.held, self.dense = content, ledger, held, dense
        ledger.add(held, dense)

    def __del__(self) -> None:
        ledger = self.ledger
        ledger.held -= self.held
        ledger.dense_held -= self.dense

    def tensor(self) -> Tensor:
        """The tensor as it was saved."""
        content = self.content
        return decompress(content) if isinstance(content, Compressed) else content


class Saver:
    """The pair of hooks. compresses : False only counts."""

    def __init__(self, ledger: Ledger, compresses: bool) -> None:
        self.ledger, self.compresses = ledger, compresses
        self.parameters: frozenset[int] = frozenset()
        self._known: dict[Key, tuple[StorageWeakRef, weakref.ref[Kept]]] = {}
        self._storages: dict[int, tuple[StorageWeakRef, weakref.ref[Kept]]] = {}

    def spare(self, parameters: Iterable[Tensor]) -> None:
        """Names the tensors that are neither packed nor counted.

        parameters : the tensors.
        """
        self.parameters = frozenset(p.untyped_storage()._cdata for p in parameters)

    def pack(self, t: Tensor) -> Tensor | Kept:
        """Called by autograd where it saves `t`."""
        if t.layout is not torch.strided or torch.compiler.is_compiling():
            return t
        storage = t.untyped_storage()
        if storage._cdata in self.parameters:
            return t
        key = (storage._cdata, t.storage_offset(), tuple(t.shape), t.stride(), t.dtype, t._version)
        entry = self._known.get(key)
        if entry is not None and not entry[0].expired():
            kept = entry[1]()
            if kept is not None:
                return kept
        reference = StorageWeakRef(storage)
        kept = self._new(t, storage, reference)
        known = self._known
        # Removes itself with the tensor, unless another one has taken the key meanwhile.
        known[key] = (reference, weakref.ref(kept, lambda dead: _forget(known, key, dead)))
        return kept

    @staticmethod
    def unpack(packed: Tensor | Kept) -> Tensor:
        """Called by autograd where it needs the tensor again."""
        return packed.tensor() if isinstance(packed, Kept) else packed

    def _new(self, t: Tensor, storage: torch.UntypedStorage, reference: StorageWeakRef) -> Kept:
        """`t` compressed where that pays; a storage that stays counts once for all its views."""
        if self.compresses and self._worth(t):
            content = compress(t.detach())
            if content.nbytes < _DENSE * t.nbytes:
                return Kept(content, self.ledger, content.nbytes, t.nbytes)
        place = storage._cdata
        entry = self._storages.get(place)
        if entry is not None and not entry[0].expired() and entry[1]() is not None:
            return Kept(t, self.ledger, 0, 0)
        kept = Kept(t, self.ledger, storage.nbytes(), storage.nbytes())
        storages = self._storages
        storages[place] = (
            reference,
            weakref.ref(kept, lambda dead: _forget(storages, place, dead)),
        )
        return kept

    @staticmethod
    def _worth(t: Tensor) -> bool:
        if t.numel() < _SMALL or 0 in t.stride():
            return False
        if t.dtype == torch.bool:
            return True
        return t.dtype.is_floating_point and worth(t, _DENSE - 1 / 32)


def _forget(table: dict[Any, Any], key: object, dead: weakref.ref[Kept]) -> None:
    entry = table.get(key)
    if entry is not None and entry[1] is dead:
        del table[key]
