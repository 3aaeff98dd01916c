"""Engines that do not learn: a fixed sequence of designs, walked from front to back.

Where a run stands is one number, so it resumes without any sampler state, and the designs
do not depend on how they are cut into batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from elector.base.errors import InputError
from transcode.engines.base import Engine, Finished, Seen
from transcode.objective import Outcome
from transcode.space import LARGEST_INDEX, Space, mix

#: Designs of the sequence at (start, count): (count, S) codes.
Sequence = Callable[[int, int], np.ndarray]
#: Largest space that can be enumerated: beyond it the arithmetic would overflow.
LARGEST_ENUMERATION = 1 << 44
_CHUNK, _MOST = 32, 1 << 17
#: Parameters of all positions of a stretch together, at most: they lie in memory as floats.
_DRAWN = 1 << 22
#: Positions without a new design after which a sequence that repeats itself is given up.
_DRY = 1 << 19


@dataclass
class StreamEngine(Engine):
    """Walks a sequence, skipping what `where` forbids and what came before.

    length : positions of the sequence; None where it never ends.
    seen : keys of what was suggested, where the sequence can repeat itself.
    available : designs there are, where that is known.
    """

    space: Space
    sequence: Sequence
    length: int | None
    seen: Seen | None = None
    available: int | None = None
    position: int = 0
    walked: int = 0
    taken: int = 0
    dry: int = 0

    @property
    def prompt(self) -> bool:
        """Always."""
        return True

    @property
    def exhausted(self) -> bool:
        """At the end, everything seen, or nothing new for long."""
        if self.length is not None and self.position >= self.length:
            return True
        if self.seen is not None and self.available is not None:
            return len(self.seen) >= self.available
        return self.dry >= _DRY

    def suggest(self, count: int) -> np.ndarray:
        """The next `count` designs of the sequence."""
        pieces = [np.zeros((0, len(self.space.parameters)), dtype=np.int32)]
        missing = count
        while missing > 0 and not self.exhausted:
            codes = self._advance(missing)
            pieces.append(codes)
            missing -= len(codes)
        return np.concatenate(pieces)

    def _advance(self, missing: int) -> np.ndarray:
        """At most `missing` new designs from the next stretch of the sequence."""
        size = self._stretch(missing)
        codes = self.sequence(self.position, size)
        rows = np.flatnonzero(self.space.allowed(codes) & self.space.is_canonical(codes))
        if self.seen is not None:
            rows = rows[self.seen.new(self.space.key(codes[rows]))]
        if len(rows) > missing:
            rows = rows[:missing]
            size = int(rows[-1]) + 1
        if self.seen is not None:
            self.seen.add(self.space.key(codes[rows]))
        self.position += size
        self.walked += size
        self.taken += len(rows)
        self.dry = 0 if len(rows) else self.dry + size
        return codes[rows]

    def _stretch(self, missing: int) -> int:
        """How far to look for that many designs, from the share that was good so far."""
        share = (self.taken + 1) / (self.walked + 1)
        most = min(_MOST, max(_CHUNK, _DRAWN // max(len(self.space.parameters), 1)))
        size = min(max(_CHUNK, int(1.1 * missing / share)), most)
        return size if self.length is None else min(size, self.length - self.position)

    def update(self, codes: np.ndarray, outcome: Outcome) -> None:
        """Nothing: a stream does not learn."""

    def state(self) -> dict[str, object]:
        """Where it stands."""
        return {"position": self.position}

    def resume(self, batch: Finished) -> None:
        """Goes on behind the batch."""
        self.position = int(str(batch.state["position"]))
        if self.seen is not None:
            self.seen.add(self.space.key(batch.codes))


def enumerate_all(space: Space) -> StreamEngine:
    """Every design once, spread over the space from the start, so that a part says something.

    Position p is design p x step mod N with a step near the golden section of N that has no
    factor in common with it (a Weyl sequence).
    """
    size = space.cardinality
    if size > LARGEST_ENUMERATION:
        raise InputError(
            f"the space has {size:.3g} designs, too many to enumerate",
            field="--sampler",
            value="enumerate",
            hint="--sampler random",
        )
    step = max(1, round(size * (math.sqrt(5.0) - 1.0) / 2.0))
    while math.gcd(step, size) != 1:
        step += 1

    def sequence(start: int, count: int) -> np.ndarray:
        first = start * step % size  # exact: Python's integers do not overflow
        index = (first + np.arange(count, dtype=np.int64) * step) % size
        return space.designs(index)

    return StreamEngine(space, sequence, size)


def random(space: Space, seed: int) -> StreamEngine:
    """Designs drawn evenly, none twice: a random permutation of the space.

    A space too large for a 64-bit index is drawn from with a memory of what came before.
    """
    if space.cardinality >= LARGEST_INDEX:
        return StreamEngine(space, _drawn(space, seed), None, Seen())
    permute = permutation(space.cardinality, seed)

    def sequence(start: int, count: int) -> np.ndarray:
        return space.designs(permute(np.arange(start, start + count, dtype=np.int64)))

    return StreamEngine(space, sequence, space.cardinality)


def _drawn(space: Space, seed: int, block: int = 256) -> Sequence:
    """Independent draws; those of a block derive from (seed, block)."""

    def sequence(start: int, count: int) -> np.ndarray:
        first, last = start // block, (start + count - 1) // block
        drawn = [
            np.random.default_rng([seed, b]).random((block, len(space.parameters)))
            for b in range(first, last + 1)
        ]
        offset = start - first * block
        return space.from_unit(np.concatenate(drawn)[offset : offset + count])

    return sequence


def permutation(size: int, seed: int, rounds: int = 6) -> Callable[[np.ndarray], np.ndarray]:
    """A random permutation of range(size) that is never written down.

    A Feistel network over the smallest even number of bits that holds `size`, walked on
    until the result is inside (Black and Rogaway, Ciphers with arbitrary finite domains, 2002).

    rounds : of the network.
    """
    half = max(1, -(-max(1, (size - 1).bit_length()) // 2))
    mask = np.uint64((1 << half) - 1)
    keys = np.random.SeedSequence(seed).generate_state(rounds, np.uint64)

    def once(value: np.ndarray) -> np.ndarray:
        left, right = value >> np.uint64(half), value & mask
        for key in keys:
            left, right = right, left ^ (mix(right + key) & mask)
        return (left << np.uint64(half)) | right

    def permute(position: np.ndarray) -> np.ndarray:
        value = once(position.astype(np.uint64))
        outside = np.flatnonzero(value >= size)
        while len(outside):
            value[outside] = once(value[outside])
            outside = outside[value[outside] >= size]
        return value.astype(np.int64)

    return permute


def quasi_random(space: Space, seed: int) -> StreamEngine:
    """A Halton sequence with randomly permuted digits (Owen, A randomized Halton algorithm
    in R, 2017): more even than random draws, at the same speed."""
    columns = [c for c, p in enumerate(space.parameters) if p.size > 1]
    primes = _primes(len(columns))
    digits = [_digits(prime, seed) for prime in primes]

    def sequence(start: int, count: int) -> np.ndarray:
        position = np.arange(start, start + count, dtype=np.int64)
        unit = np.zeros((count, len(space.parameters)))
        for column, prime, permuted in zip(columns, primes, digits, strict=True):
            unit[:, column] = _radical_inverse(position, prime, permuted)
        return space.from_unit(unit)

    return StreamEngine(space, sequence, None, Seen(), space.allowed_count)


def _primes(count: int) -> list[int]:
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    return primes


def _digits(prime: int, seed: int) -> np.ndarray:
    """(digits, prime) a permutation for each digit, as many as a float can tell apart."""
    rng = np.random.default_rng([seed, prime])
    return np.stack([rng.permutation(prime) for _ in range(int(52 / math.log2(prime)) + 1)])


def _radical_inverse(position: np.ndarray, prime: int, permuted: np.ndarray) -> np.ndarray:
    """(D,) in [0, 1): the digits of the position, permuted and mirrored at the point."""
    result, weight, rest = np.zeros(len(position)), 1.0, position
    for permutation_of_digit in permuted:
        rest, digit = np.divmod(rest, prime)
        weight /= prime
        result += weight * permutation_of_digit[digit]
    return np.minimum(result, np.nextafter(1.0, 0.0))
