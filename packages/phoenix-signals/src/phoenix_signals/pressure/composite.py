"""Composite LPI: forced selling, depleted bids, one-sided volume."""

from __future__ import annotations

import math

from phoenix_signals.errors import NUMBER_MAX, share_error, size_error
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import ZScoreMeanStd


class CompositeLpi(Estimator):
    """Composite LPI of one notional bucket: forced selling, depleted bids, one-sided volume.

    Formula:
        lpi = 0.6 tanh(max(0, z(FSI))) + 0.3 max(0, 1 - LDR) + 0.1 |V_B - V_S| / V, z by mean and
        standard deviation over `window_count` buckets. FSI = aggressive sell notional / total
        notional of the bucket; LDR = depth notional now / one snapshot earlier, same side and
        level.
    Units: none; lpi lies in [0, 1]. Without depletion (LDR >= 1) it cannot pass 0.7.
    Clock: one closed notional bucket per update.
    Warm-up: `min_count` buckets.
    Missing data: LDR None (no depth, or stale) gives None; the window of FSI goes on.
    Errors: FSI or imbalance outside [0, 1], LDR negative or not finite raises `InputError`, the
        state stays.
    Symmetry: none; the index looks at sellers only.

    Example:
        >>> composite = CompositeLpi(window_count=10, min_count=2)
        >>> for fsi in (0.5, 0.5, 0.9):
        ...     composite.update(fsi, abs(2 * fsi - 1), 0.5)
        >>> round(composite.value, 4)
        0.763

    Source: design note "signals", Pressure indices, 2.
    """

    ID = "composite_lpi"
    VERSION = 1
    EXAMPLES = ({"window_count": 20, "min_count": 5}, {"window_count": 12, "min_count": 2})

    __slots__ = ("_fsi", "min_count", "value", "window_count", "z_clip")

    def __init__(self, window_count: int = 100, min_count: int = 30, z_clip: float = 10.0) -> None:
        self.window_count = window_count
        self.min_count = min_count
        self.z_clip = z_clip
        self._fsi = ZScoreMeanStd(window_count, min_count, z_clip)
        self.value: float | None = None

    def update(self, fsi: float, imbalance: float, ldr: float | None) -> None:
        """Take one closed bucket."""
        if not 0.0 <= fsi <= 1.0:
            raise share_error("fsi", fsi)
        if not 0.0 <= imbalance <= 1.0:
            raise share_error("imbalance", imbalance)
        if ldr is not None and not 0.0 <= ldr < NUMBER_MAX:
            raise size_error("ldr", ldr)
        self._fsi.update(fsi)
        z = self._fsi.value
        if z is None or ldr is None:
            self.value = None
            return
        self.value = 0.6 * math.tanh(max(0.0, z)) + 0.3 * max(0.0, 1.0 - ldr) + 0.1 * imbalance

    @property
    def fsi_z(self) -> float | None:
        """z of the last bucket's FSI, None during warm-up."""
        return self._fsi.value
