"""Results split by the state of the market when they began: spread, volatility, toxicity, funding.

A result belongs to the regime that was known when it started (the last value at or before), never
to a later one. Edges may be given, which is what a rule could have used; edges from quantiles of the
whole sample describe afterwards and are marked so, because nobody knew them at the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix_runner.errors import RunnerError
from phoenix_runner.fills import sample_asof

Floats = NDArray[np.float64]
FEWEST = 10
"""Results of a regime of which a share is shown."""


class RegimeError(RunnerError):
    """Regimes cannot be cut as asked."""

    exit_code = 2


@dataclass(frozen=True)
class RegimeRow:
    """Results that began while the regime variable was in [low, high).

    `standard_error` takes results as independent; None for fewer than two.
    """

    low: float
    high: float
    count: int
    total: float
    mean: float | None
    standard_error: float | None
    share_positive: float | None

    @property
    def few(self) -> bool:
        """Too few results for a share of gains to mean anything."""
        return self.count < FEWEST


@dataclass(frozen=True)
class RegimeTable:
    """All regimes of one variable, and how many results had no known regime.

    `edges_from_sample`: the edges are quantiles of the whole sample, so known only afterwards.
    `constant`: the value, if it was the same at every start, so that there is nothing to split by.
    """

    variable: str
    edges_from_sample: bool
    rows: tuple[RegimeRow, ...]
    unknown: int
    unit: str = ""
    constant: float | None = None


def split_by_regime(
    variable: str,
    began_ns: ArrayLike,
    results: ArrayLike,
    regime_ts_ns: ArrayLike,
    regime: ArrayLike,
    *,
    max_age_ns: int,
    edges: Sequence[float] | None = None,
    quantiles: Sequence[float] = (1 / 3, 2 / 3),
) -> RegimeTable:
    """Count, total, mean and share of gains of `results`, by the value of `regime` as they began.

    `edges` are inner cut points, increasing; without them the `quantiles` of the regime values at
    the results' starts, each a value that occurred and above the smallest: no regime is empty, and
    one value alone is one regime, `constant`. The outer regimes are open.

    >>> table = split_by_regime("spread_bps", [1, 2, 3], [1.0, -2.0, 5.0], [0, 2], [0.5, 3.0],
    ...                         max_age_ns=10, edges=[1.0])
    >>> [(row.count, row.total) for row in table.rows], table.unknown
    ([(1, 1.0), (2, 3.0)], 0)
    """
    values = np.asarray(results, dtype=np.float64)
    state = sample_asof(regime_ts_ns, regime, began_ns, max_age_ns=max_age_ns)
    if state.shape != values.shape:
        raise RegimeError(
            f"began_ns and results must have one length (was {state.shape}, {values.shape})"
        )
    known = np.isfinite(state)
    if edges is None:
        if not all(0 < q < 1 for q in quantiles):
            raise RegimeError(f"quantiles must be between 0 and 1 (was {list(quantiles)})")
        cuts = _cuts(np.sort(state[known]), quantiles)
    else:
        cuts = np.asarray(edges, dtype=np.float64)
        if np.any(np.diff(cuts) <= 0) or not np.isfinite(cuts).all():
            raise RegimeError(f"edges must increase and be finite (was {list(edges)})")
    member = np.digitize(state[known], cuts)
    bounds = [-math.inf, *cuts.tolist(), math.inf]
    rows = [
        _row(bounds[i], bounds[i + 1], values[known][member == i]) for i in range(cuts.size + 1)
    ]
    alone = np.unique(state[known])
    constant = float(alone[0]) if alone.size == 1 else None
    return RegimeTable(variable, edges is None, tuple(rows), int((~known).sum()), constant=constant)


def constant_sentence(table: RegimeTable) -> str:
    """What a table says whose variable was the same at every start.

    >>> from dataclasses import replace
    >>> table = split_by_regime("spread", [1, 2], [1.0, -2.0], [0, 2], [1.0, 1.0], max_age_ns=10)
    >>> constant_sentence(replace(table, unit="ticks"))
    'spread (ticks) was 1 at the entry of all 2 round trips: nothing to split by'
    """
    trips = sum(row.count for row in table.rows)
    return (
        f"{table.variable} ({table.unit}) was {table.constant:.4g} at the entry of all {trips:,} round "
        "trips: nothing to split by"
    )


def _cuts(state: Floats, quantiles: Sequence[float]) -> Floats:
    above = state[state > state[0]] if state.size else state
    if not above.size:
        return np.empty(0)
    return np.unique(np.maximum(np.quantile(state, quantiles, method="higher"), above[0]))


def _row(low: float, high: float, own: Floats) -> RegimeRow:
    n = int(own.size)
    return RegimeRow(
        low=low,
        high=high,
        count=n,
        total=float(own.sum()),
        mean=float(own.mean()) if n else None,
        standard_error=float(own.std(ddof=1)) / math.sqrt(n) if n > 1 else None,
        share_positive=float(np.mean(own > 0)) if n else None,
    )
