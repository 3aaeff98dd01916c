"""Which parameters of a design matter: those of layers and heads that it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from transcode.space.parts import Parameter

#: Designs looked at together: their numbers stay in the cache.
_AT_ONCE = 1024


class Dependence:
    """The needs of all parameters (`Parameter.needs`), as arrays.

    columns : parameters that do not always matter; those they depend on come first.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.columns = tuple(c for c, p in enumerate(parameters) if p.needs is not None)
        needs: list[tuple[int, float]] = []
        for column in self.columns:
            own = parameters[column].needs
            if own is not None and own not in needs:
                needs.append(own)
        self._of = np.array([of for of, _ in needs], dtype=np.intp)
        self._least = np.array([least for _, least in needs])
        # Behind all needs stands one that is always met.
        met = len(needs)
        place = {need: i for i, need in enumerate(needs)} | {None: met}
        self._need = np.array([place[p.needs] for p in parameters], dtype=np.intp)
        self._above = self._need[self._of]
        values = [[float(v) for v in parameters[of].values] for of in self._of]
        self._start = np.cumsum([0, *map(len, values)])[:-1]
        self._values = np.array([v for own in values for v in own])

    def idle(self, codes: np.ndarray) -> np.ndarray:
        """(D, S) bool: which parameters of (D, S) codes do not matter."""
        parts = [idle for _, idle in self.each(codes)]
        return np.concatenate(parts) if parts else np.zeros(codes.shape, dtype=bool)

    def each(self, codes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Views of some designs after others, and what of them does not matter, if anything."""
        for start in range(0, len(codes) if self.columns else 0, _AT_ONCE):
            part = codes[start : start + _AT_ONCE]
            yield part, self._unmet(part).take(self._need, axis=1, mode="clip")

    def _unmet(self, codes: np.ndarray) -> np.ndarray:
        """(D, K + 1) bool: which needs are not met."""
        unmet = np.zeros((len(codes), len(self._of) + 1), dtype=bool)
        number = self._values.take(
            codes.take(self._of, axis=1, mode="clip") + self._start, mode="clip"
        )
        own = np.less(number, self._least, out=unmet[:, :-1])
        # A head of a layer needs the layer, too; what it needs came first.
        while True:
            more = own | unmet.take(self._above, axis=1, mode="clip")
            if (more == own).all():
                return unmet
            own[:] = more
