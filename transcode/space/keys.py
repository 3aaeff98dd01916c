"""Integers by which designs of a space too large for an index are told apart."""

from __future__ import annotations

import numpy as np


def hashed(codes: np.ndarray) -> np.ndarray:
    """(D,) uint64 of (D, S) codes."""
    key = np.zeros(len(codes), dtype=np.uint64)
    for column in codes.T:
        key = mix(key + np.uint64(0x9E3779B97F4A7C15) + column.astype(np.uint64))
    return key


def mix(key: np.ndarray) -> np.ndarray:
    """A bijection of uint64 that looks random (splitmix64's finaliser; Steele et al. 2014)."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))
