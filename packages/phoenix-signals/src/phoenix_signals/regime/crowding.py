"""Crowding and F3, and what takers do beside them: from published rows."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from phoenix_signals.errors import NUMBER_MAX, InputError, check_choice, check_count, check_positive
from phoenix_signals.estimator import Estimator
from phoenix_signals.pressure import check_optional, check_weight, sgn
from phoenix_signals.rolling import ZKind, zscore

OiMode = Literal["additive", "amplify"]


class CrowdingValue[Number](NamedTuple):
    """C, the position F3 that a fade would take, and the parts; None (NaN) while unknown."""

    crowding: Number
    f3: Number
    funding_z: Number
    oi_change_z: Number
    long_short_z: Number


class Crowding(Estimator):
    """Crowding C and F3: which side has piled in.

    Formula:
        C = a1 z(f) + a2 z(dOI) + a3 z(ln LS): f the funding rate, dOI = ln OI_t - ln OI_(t-1) per
        row, LS the ratio of long to short accounts. `oi_mode` "additive" is the published form; in
        "amplify" the middle term is a2 sgn(z(f)) max(0, z(dOI)): growing open interest strengthens
        whichever side is crowded. F3 = -1 when C > crowding_threshold (crowded long), +1 when
        C < -crowding_threshold, else 0: F3 is the position that fades the crowd.
    Units: C in standard deviations.
    Clock: one published row per update; a row may hold funding, metrics or both. Funding z is over
        settlements, the others over rows of metrics.
    Warm-up: `min_count` of each part whose weight is not 0.
    Missing data: None enters no window and the part's last z stands; a row of metrics without open
        interest has no change, and neither has the next. A row of funding alone is no such row.
    Errors: NaN, infinity, an open interest or ratio not above 0 raises `InputError`, the state
        stays.
    Symmetry: in "amplify", funding and ln LS negated negate C and F3.

    Example:
        >>> crowding = Crowding(a2=0.0, a3=0.0, funding_window_rows=5, min_count=2)
        >>> for rate in (0.0001, 0.0001, 0.0002):
        ...     crowding.update(rate, None, None)
        >>> round(crowding.value.crowding, 4), crowding.value.f3
        (10.0, -1)

    Source: design note "signals", Regime.
    """

    ID = "crowding"
    VERSION = 1
    EXAMPLES = (
        {"funding_window_rows": 12, "metrics_window_rows": 20, "min_count": 3},
        {"funding_window_rows": 12, "metrics_window_rows": 20, "min_count": 3,
         "oi_mode": "amplify", "z_kind": "mean_std", "a3": 0.5, "crowding_threshold": 0.8},
    )  # fmt: skip

    __slots__ = (
        "_funding", "_interest", "_long_short", "_oi_change", "_value", "a1", "a2", "a3",
        "crowding_threshold", "funding_window_rows", "metrics_window_rows", "min_count", "oi_mode",
        "z_clip", "z_kind",
    )  # fmt: skip

    def __init__(
        self,
        crowding_threshold: float = 1.0,
        a1: float = 1.0,
        a2: float = 1.0,
        a3: float = 1.0,
        oi_mode: OiMode = "additive",
        funding_window_rows: int = 90,
        metrics_window_rows: int = 8640,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.crowding_threshold = check_positive("crowding_threshold", crowding_threshold, "1.0")
        self.a1 = check_weight("a1", a1)
        self.a2 = check_weight("a2", a2)
        self.a3 = check_weight("a3", a3)
        check_choice("oi_mode", oi_mode, ("additive", "amplify"))
        self.oi_mode: OiMode = oi_mode
        self.funding_window_rows = check_count("funding_window_rows", funding_window_rows, 2, "90")
        self.metrics_window_rows = check_count(
            "metrics_window_rows", metrics_window_rows, 2, "8640"
        )
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._funding = zscore(z_kind, funding_window_rows, min_count, z_clip)
        self._oi_change = zscore(z_kind, metrics_window_rows, min_count, z_clip)
        self._long_short = zscore(z_kind, metrics_window_rows, min_count, z_clip)
        self._interest: float | None = None
        self._value: CrowdingValue[float | None] = CrowdingValue(None, None, None, None, None)

    def update(
        self,
        funding_rate: float | None,
        open_interest: float | None,
        long_short_ratio: float | None,
    ) -> None:
        """Take one row; None where it says nothing."""
        check_optional("funding_rate", funding_rate)
        for name, x in (("open_interest", open_interest), ("long_short_ratio", long_short_ratio)):
            if x is not None:
                check_ratio(name, x)
        if funding_rate is not None:
            self._funding.update(funding_rate)
        if open_interest is not None or funding_rate is None:
            before, self._interest = self._interest, open_interest
            if open_interest is not None and before is not None:
                self._oi_change.update(math.log1p((open_interest - before) / before))
        if long_short_ratio is not None:
            self._long_short.update(math.log(long_short_ratio))
        self._value = self._combined()

    def _combined(self) -> CrowdingValue[float | None]:
        funding, change, ratio = self._funding.value, self._oi_change.value, self._long_short.value
        parts = CrowdingValue(None, None, funding, change, ratio)
        if (
            (self.a1 and funding is None)
            or (self.a2 and (change is None or (self.oi_mode == "amplify" and funding is None)))
            or (self.a3 and ratio is None)
        ):
            return parts
        c = self.a1 * (funding or 0.0) + self.a3 * (ratio or 0.0)
        growth = change or 0.0
        if self.oi_mode == "amplify":
            growth = sgn(funding or 0.0) * max(0.0, growth)
        c += self.a2 * growth
        threshold = self.crowding_threshold
        f3 = -1 if c > threshold else 1 if c < -threshold else 0
        return parts._replace(crowding=c, f3=f3)

    @property
    def value(self) -> CrowdingValue[float | None]:
        """C, F3 and the parts, each None while unknown."""
        return self._value

    @property
    def ready(self) -> bool:
        """True when C is known."""
        return self._value.crowding is not None


class TakerRatio(Estimator):
    """Taker ratio: how unusual it is what takers buy for each lot that they sell.

    Formula:
        z(ln R), R = volume bought / volume sold by takers, as published per row of metrics
        (`sum_taker_long_short_vol_ratio`). A feature of its own: it is no part of C, which asks who
        holds positions and not who trades.
    Units: standard deviations; above 0 takers buy more than usual.
    Clock: one published row per update, every 5 minutes.
    Warm-up: `min_count` rows.
    Missing data: None enters no window and gives None.
    Errors: NaN, infinity or a ratio not above 0 raises `InputError`, the state stays.
    Symmetry: R -> 1/R negates the value.

    Example:
        >>> takers = TakerRatio(window_rows=5, min_count=2, z_kind="mean_std")
        >>> for ratio in (1.0, 1.0, 2.0):
        ...     takers.update(ratio)
        >>> round(takers.value, 4)
        1.4142

    Source: design note "signals", Regime.
    """

    ID = "taker_ratio"
    VERSION = 1
    EXAMPLES = (
        {"window_rows": 20, "min_count": 5},
        {"window_rows": 12, "min_count": 3, "z_kind": "mean_std", "z_clip": 2.0},
    )

    __slots__ = ("_ratio", "min_count", "value", "window_rows", "z_clip", "z_kind")

    def __init__(
        self,
        window_rows: int = 8640,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.window_rows = check_count("window_rows", window_rows, 2, "8640")
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._ratio = zscore(z_kind, window_rows, min_count, z_clip)
        self.value: float | None = None

    def update(self, taker_ratio: float | None) -> None:
        """Take one row; None where it says nothing."""
        if taker_ratio is None:
            self.value = None
            return
        check_ratio("taker_ratio", taker_ratio)
        self._ratio.update(math.log(taker_ratio))
        self.value = self._ratio.value


def check_ratio(name: str, x: float) -> None:
    """Refuse what has no logarithm.

    >>> check_ratio("taker_ratio", 0.0)
    Traceback (most recent call last):
    phoenix_signals.errors.InputError: taker_ratio must be above 0 and finite (was 0.0); \
pass None for none
    """
    if not 0.0 < x < NUMBER_MAX:
        raise InputError(f"{name} must be above 0 and finite (was {x}); pass None for none")
