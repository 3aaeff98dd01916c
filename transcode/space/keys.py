"""Integers by which designs of a space too large for an index are told apart."""

from __future__ import annotations

import numpy as np

#: Designs hashed at once: their numbers stay in the cache.
_AT_ONCE = 256
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hashed(codes: np.ndarray) -> np.ndarray:
    """(D,) uint64 of (D, S) codes: each code mixed with its place, and all of them added up."""
    places = np.arange(1, codes.shape[1] + 1, dtype=np.uint64) * _GOLDEN
    key = np.empty(len(codes), dtype=np.uint64)
    for start in range(0, len(codes), _AT_ONCE):
        part = codes[start : start + _AT_ONCE].astype(np.uint64) + places
        key[start : start + _AT_ONCE] = np.add.reduce(mix(part), axis=1)
    return mix(key)


def mix(key: np.ndarray) -> np.ndarray:
    """A bijection of uint64 that looks random (splitmix64's finaliser; Steele et al. 2014).

    key : (D,) uint64.
    """
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))
