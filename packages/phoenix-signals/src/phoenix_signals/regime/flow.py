"""Toxicity T and pressure F2: samples of flow and liquidity, gated by one another."""

from __future__ import annotations

from typing import NamedTuple

from phoenix_signals.errors import (
    NUMBER_MAX,
    InputError,
    size_error,
)
from phoenix_signals.estimator import Estimator
from phoenix_signals.pressure import check_optional
from phoenix_signals.rolling import ZKind, zscore


class ToxicityIndex(Estimator):
    """Toxicity T: one-sided flow where trading is dear.

    Formula:
        T = z(VPIN) + z(spread).
    Units: standard deviations; spread and `min_scale` (half a tick) in one unit.
    Clock: one sample of both per update, e.g. at each bar's close.
    Warm-up: `min_count` samples of each.
    Missing data: None enters no window; T is None unless both are there.
    Errors: a negative VPIN or spread, NaN or infinity raises `InputError`, the state stays.

    Example:
        >>> toxicity = ToxicityIndex(window_count=5, min_count=2, z_kind="mean_std")
        >>> for vpin in (0.2, 0.2, 0.5):
        ...     toxicity.update(vpin, 1.0)
        >>> round(toxicity.value, 4)
        1.4142

    Source: design note "signals", Regime.
    """

    ID = "toxicity_index"
    VERSION = 1
    EXAMPLES = (
        {"window_count": 20, "min_count": 5},
        {"window_count": 30, "min_count": 3, "z_kind": "mean_std"},
    )

    __slots__ = ("_spread", "_vpin", "min_count", "value", "window_count", "z_clip", "z_kind")

    def __init__(
        self,
        window_count: int = 360,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.window_count = window_count
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._vpin = zscore(z_kind, window_count, min_count, z_clip)
        self._spread = zscore(z_kind, window_count, min_count, z_clip)
        self.value: float | None = None

    def update(self, vpin: float | None, spread: float | None, min_scale: float = 0.0) -> None:
        """Take one sample."""
        for name, x in (("vpin", vpin), ("spread", spread), ("min_scale", min_scale)):
            if x is not None and not 0.0 <= x < NUMBER_MAX:
                raise size_error(name, x)
        vpin_z = spread_z = None
        if vpin is not None:
            self._vpin.update(vpin)
            vpin_z = self._vpin.value
        if spread is not None:
            self._spread.update(spread, min_scale)
            spread_z = self._spread.value
        self.value = None if vpin_z is None or spread_z is None else vpin_z + spread_z


class FlowPressureValue[Number](NamedTuple):
    """F2 and the z-scores it sums; None (NaN) while unknown."""

    f2: Number
    obi_z: Number
    svi_z: Number
    ofi_z: Number


class FlowPressure(Estimator):
    """Flow pressure F2: the direction that book, trades and quotes agree on, while not toxic.

    Formula:
        F2 = [z(OBI) + z(SVI) + z(sum OFI)] 1{T < tau}; the caller decides whether flow is toxic.
    Units: standard deviations; positive is up.
    Clock: one sample of all per update, e.g. at each bar's close. Toxic samples enter the windows
        like any other.
    Warm-up: `min_count` samples of each.
    Missing data: None enters no window; F2 is None unless all three, and the toxicity, are known.
    Errors: NaN or infinity raises `InputError`, the state stays.
    Symmetry: all three negated negate F2.

    Example:
        >>> pressure = FlowPressure(window_count=5, min_count=2, z_kind="mean_std")
        >>> for flow in (0.0, 0.0, 1.0):
        ...     pressure.update(flow, flow, flow, is_toxic=0)
        >>> round(pressure.value.f2, 4)
        4.2426

    Source: design note "signals", Regime.
    """

    ID = "flow_pressure"
    VERSION = 1
    EXAMPLES = (
        {"window_count": 20, "min_count": 5},
        {"window_count": 30, "min_count": 3, "z_kind": "mean_std"},
    )

    __slots__ = ("_obi", "_ofi", "_svi", "_value", "min_count", "window_count", "z_clip", "z_kind")

    def __init__(
        self,
        window_count: int = 360,
        min_count: int = 30,
        z_kind: ZKind = "median_mad",
        z_clip: float = 10.0,
    ) -> None:
        self.window_count = window_count
        self.min_count = min_count
        self.z_kind = z_kind
        self.z_clip = z_clip
        self._obi = zscore(z_kind, window_count, min_count, z_clip)
        self._svi = zscore(z_kind, window_count, min_count, z_clip)
        self._ofi = zscore(z_kind, window_count, min_count, z_clip)
        self._value: FlowPressureValue[float | None] = FlowPressureValue(None, None, None, None)

    def update(
        self, obi: float | None, svi: float | None, ofi: float | None, is_toxic: int | None
    ) -> None:
        """Take one sample; `is_toxic` 1 or 0, None while T or tau is unknown."""
        for name, x in (("obi", obi), ("svi", svi), ("ofi", ofi)):
            check_optional(name, x)
        if is_toxic not in (0, 1, None):
            raise InputError(f"is_toxic must be 1 or 0 (was {is_toxic}); pass None for unknown")
        zs: list[float | None] = []
        for x, z in ((obi, self._obi), (svi, self._svi), (ofi, self._ofi)):
            if x is None:
                zs.append(None)
            else:
                z.update(x)
                zs.append(z.value)
        obi_z, svi_z, ofi_z = zs
        f2 = None
        if obi_z is not None and svi_z is not None and ofi_z is not None and is_toxic is not None:
            f2 = 0.0 if is_toxic else obi_z + svi_z + ofi_z
        self._value = FlowPressureValue(f2, obi_z, svi_z, ofi_z)

    @property
    def value(self) -> FlowPressureValue[float | None]:
        """F2 and its parts, each None while unknown."""
        return self._value

    @property
    def ready(self) -> bool:
        """True when F2 is known."""
        return self._value.f2 is not None
