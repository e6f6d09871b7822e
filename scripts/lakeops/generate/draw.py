"""Chance that does not depend on order, clock or machine: hashes for the world, generators for the days."""

from __future__ import annotations

import zlib
from datetime import date

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
# Part of every world draw: another number would be another world.
_WORLD_SEED = 20240325


def mix(salt: str, *keys: np.ndarray | int) -> np.ndarray:
    """Return a 64-bit hash for each row of `keys` (splitmix64).

    The world is made of such hashes and not of a random sequence: entity 17 is then the same at every scale, and
    its state on any day is known without playing the days before it.
    """
    state = np.array([zlib.crc32(salt.encode())], dtype=np.uint64)
    for key in keys:
        values = np.atleast_1d(np.asarray(key, dtype=np.int64)).view(np.uint64)
        state = (state ^ values) + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        state = state ^ (state >> np.uint64(31))
    return state


def mix_share(salt: str, *keys: np.ndarray | int) -> np.ndarray:
    """Return a number in [0, 1) for each row of `keys`."""
    return (mix(salt, *keys) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def mix_below(limit: int, salt: str, *keys: np.ndarray | int) -> np.ndarray:
    """Return a whole number in [0, limit) for each row of `keys`."""
    return (mix(salt, *keys) % np.uint64(limit)).astype(np.int64)


def make_generator(seed: int | None, day: date, purpose: str) -> np.random.Generator:
    """Return the random generator for one purpose on one day; seed None is the world's own."""
    family = (0, _WORLD_SEED) if seed is None else (1, seed)
    return np.random.default_rng([*family, day.toordinal(), zlib.crc32(purpose.encode())])


def pick_weighted(rng: np.random.Generator, weights: np.ndarray, count: int) -> np.ndarray:
    """Return `count` positions, each drawn with its weight."""
    edges = np.cumsum(weights)
    return np.minimum(np.searchsorted(edges, rng.random(count) * edges[-1], side="right"), len(weights) - 1)


class PowerLaw:
    """Few that are drawn often, and many that are drawn seldom.

    Parameters
    ----------
    ids : what can be drawn.
    salt : decides which of them are the popular ones.
    exponent : the larger, the more the popular ones dominate.
    """

    def __init__(self, ids: np.ndarray, salt: str, exponent: float) -> None:
        self._ids = ids[np.argsort(mix(salt, ids), kind="stable")]
        self._edges = np.cumsum(1.0 / (np.arange(len(ids)) + 5.0) ** exponent)

    def pick(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Return `count` ids."""
        at = np.searchsorted(self._edges, rng.random(count) * self._edges[-1], side="right")
        return self._ids[np.minimum(at, len(self._ids) - 1)]
