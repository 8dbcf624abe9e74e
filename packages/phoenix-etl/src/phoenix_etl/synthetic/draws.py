"""Random numbers and elementary functions with the same bits on every machine.

NumPy promises the stream of a *bit generator* for ever, but not that of its distributions, and its
vectorised `exp` and `log` differ in the last bit between processors. Everything here is therefore
built from raw Philox words and from operations that IEEE 754 fixes exactly (+, -, *, /, sqrt,
floor, comparisons, powers of two), one NumPy call per operation so that none is fused.

A stream is named by what it is for, ``Draws(seed, "BTCUSDT", "2024-01-07", "signs")``; its key is
the SHA-256 of those words. So days and symbols are independent, and a draw added to one stream
leaves every other stream as it was.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")  # 32 bits: k * _LN2_HIGH is exact
_LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")
_NORMAL_CELLS: Final = 1 << 14


def exp(x: npt.ArrayLike) -> Floats:
    """e to the x, within a few units in the last place, the same bits everywhere.

    >>> exp([0.0, 1.0, -745.0]).round(12).tolist()
    [1.0, 2.718281828459, 0.0]
    """
    x = np.clip(np.asarray(x, dtype=np.float64), -700.0, 700.0)
    k = np.floor(x * (1.0 / (_LN2_HIGH + _LN2_LOW)) + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    total = np.full_like(r, 1.0)
    for n in range(13, 0, -1):  # Taylor by Horner; |r| < 0.35 leaves 1e-17 after 13 terms
        total *= r
        total *= 1.0 / n
        total += 1.0
    return np.ldexp(total, k.astype(np.int32))


def log(x: npt.ArrayLike) -> Floats:
    """Natural logarithm of positive numbers, the same bits everywhere.

    >>> log([1.0, 10.0]).round(12).tolist()
    [0.0, 2.302585092994]
    """
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < math.sqrt(0.5)
    mantissa = np.where(low, mantissa * 2.0, mantissa)
    k = np.where(low, exponent - 1, exponent).astype(np.float64)
    z = (mantissa - 1.0) / (mantissa + 1.0)  # log m = 2 atanh z, |z| < 0.172
    z2 = z * z
    total = np.full_like(z, 1.0 / 19.0)
    for n in range(17, 0, -2):
        total *= z2
        total += 1.0 / n
    total *= z
    total *= 2.0
    return np.asarray(total + k * _LN2_LOW + k * _LN2_HIGH)


@cache
def _normal_table() -> Floats:
    """Quantiles at the edges of equal-probability cells, rounded so that no libm can differ."""
    inv = NormalDist().inv_cdf
    half = [inv(i / _NORMAL_CELLS) for i in range(1, _NORMAL_CELLS // 2)]
    edges = [-4.2, *half, 0.0]
    lower = np.round(np.array(edges) * 2.0**24) / 2.0**24
    return np.concatenate([lower, -lower[-2::-1]])


class Draws:
    """A named stream of random numbers.

    >>> a = Draws(7, "BTCUSDT", "2024-01-01", "signs").uniform(3)
    >>> b = Draws(7, "BTCUSDT", "2024-01-01", "signs").uniform(3)
    >>> bool((a == b).all()), bool((Draws(8, "BTCUSDT").uniform(3) == a).any())
    (True, False)
    """

    def __init__(self, seed: int, *name: str) -> None:
        digest = hashlib.sha256("\x1f".join([str(seed), *name]).encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def uniform(self, n: int) -> Floats:
        """`n` numbers of [0, 1), multiples of 2^-53."""
        raw = self._bits.random_raw(n)
        return np.asarray((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def below(self, limit: int, n: int) -> Ints:
        """`n` integers of [0, limit)."""
        return np.asarray((self.uniform(n) * limit).astype(np.int64))

    def normal(self, n: int) -> Floats:
        """`n` standard normals: the quantile function by linear interpolation, cut at 4.2."""
        at = self.uniform(n) * _NORMAL_CELLS
        cell = at.astype(np.int64)
        table = _normal_table()
        low = table[cell]
        return np.asarray(low + (at - cell) * (table[cell + 1] - low))

    def exponential(self, n: int) -> Floats:
        """`n` standard exponentials."""
        return -log(1.0 - self.uniform(n))

    def pareto(self, alpha: float, n: int) -> Floats:
        """`n` Pareto numbers from 1 up, P(X > x) = x^-alpha."""
        return exp(self.exponential(n) * (1.0 / alpha))

    def poisson(self, mean: float, n: int) -> Ints:
        """`n` Poisson counts of one small mean (below about 20)."""
        terms = [math.exp(-mean)]
        while sum(terms) < 1.0 - 1e-12 and len(terms) < 100:
            terms.append(terms[-1] * mean / len(terms))
        edges = np.round(np.cumsum(np.array(terms)) * 2.0**40) / 2.0**40
        return np.asarray(np.searchsorted(edges, self.uniform(n), side="right"), dtype=np.int64)


def decay(noise: Floats, keep: float) -> Floats:
    """The recursion x[i] = keep * x[i-1] + noise[i], for the short series of a day's minutes."""
    out, x = np.empty_like(noise), 0.0
    for i, shock in enumerate(noise.tolist()):
        x = keep * x + shock
        out[i] = x
    return out


def pinned(path: Floats) -> Floats:
    """`path` less the straight line between its ends: zero at both."""
    steps = np.arange(len(path), dtype=np.float64) / (len(path) - 1)
    return np.asarray(path - (path[0] + (path[-1] - path[0]) * steps))


def between(nodes: Floats, at: Floats) -> Floats:
    """Linear interpolation of `nodes`, standing at 0, 1, 2, ..., at positions `at`."""
    i = np.minimum(at.astype(np.int64), len(nodes) - 2)
    return np.asarray(nodes[i] + (at - i) * (nodes[i + 1] - nodes[i]))
