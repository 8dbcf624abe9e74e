"""Yang-Zhang: sessions with the gaps between them, independent of drift."""

from __future__ import annotations

from phoenix_signals.errors import check_count, check_time
from phoenix_signals.estimator import Estimator
from phoenix_signals.rolling import RollingMeanVariance, RollingSum
from phoenix_signals.volatility.bars import check_bar, log_ratio, rogers_satchell


def yang_zhang_k(window_sessions: int) -> float:
    """Weight k = 0.34 / (1.34 + (n + 1)/(n - 1)) that minimises the variance of the estimate.

    >>> round(yang_zhang_k(10), 4)
    0.1327
    """
    n = window_sessions
    return 0.34 / (1.34 + (n + 1) / (n - 1))


class YangZhangVariance(Estimator):
    """Yang-Zhang variance: independent of drift, gaps between sessions included.

    Formula:
        V_o + k V_c + (1 - k) V_rs over n sessions, in logs: V_o sample variance (n - 1, demeaned)
        of o_i - c_(i-1), V_c sample variance of c_i - o_i, V_rs mean of Rogers-Satchell,
        k = 0.34 / (1.34 + (n + 1)/(n - 1)).
    Units: variance of log returns per session.
    Clock: bars at their close. For a market that never closes the "overnight" term is the gap
        between consecutive sessions. `session_ns` None makes every bar a session; HOUR_NS or DAY_NS
        merges bars into sessions of UTC time, (i S, (i + 1) S] by close time, and a session is
        known when the first bar of the next one arrives.
    Warm-up: n + 1 sessions.
    Missing data: a session without bars is passed over; its move is in the next gap.
    Errors: time going back, or a bar with a price not above 0, or not low <= open, close <= high,
        raises `InputError`; `window_sessions` below 2 raises `ParameterError`.

    Example:
        >>> estimator = YangZhangVariance(window_sessions=2)
        >>> for i, shift in enumerate((0.0, 0.5, 0.25)):
        ...     estimator.update(i, 100.0 + shift, 101.0 + shift, 99.0 + shift, 100.5 + shift)
        >>> round(estimator.value, 8)
        0.00021121

    Source: Yang, Zhang (2000), J. Business 73(3); values as R's TTR::volatility(calc="yang.zhang"),
    which returns sqrt(N variance) with N = 260.
    """

    ID = "yang_zhang_variance"
    VERSION = 1
    EXAMPLES = (
        {"window_sessions": 5},
        {"window_sessions": 3, "session_ns": 1_000_000_000},
    )

    __slots__ = (
        "_bar", "_close", "_end", "_gaps", "_k", "_last", "_moves", "_ranges", "session_ns",
        "value", "window_sessions",
    )  # fmt: skip

    def __init__(self, window_sessions: int, session_ns: int | None = None) -> None:
        self.window_sessions = check_count("window_sessions", window_sessions, 2, "20")
        if session_ns is not None:
            check_count("session_ns", session_ns, 1, "3_600_000_000_000, or None for each bar")
        self.session_ns = session_ns
        self._k = yang_zhang_k(window_sessions)
        self._gaps = RollingMeanVariance(window_sessions)
        self._moves = RollingMeanVariance(window_sessions)
        self._ranges = RollingSum(window_sessions)
        self._bar: tuple[float, float, float, float] | None = None  # the open session
        self._end = self._last = 0
        self._close: float | None = None
        self.value: float | None = None

    def update(self, ts_ns: int, open_: float, high: float, low: float, close: float) -> None:
        """Take a bar, with the time of its close."""
        check_bar(open_, high, low, close)
        check_time(ts_ns, self._last)
        self._last = ts_ns
        width = self.session_ns
        if width is None:
            self._take_session(open_, high, low, close)
            return
        bar = self._bar
        if bar is not None and ts_ns <= self._end:
            self._bar = (bar[0], max(bar[1], high), min(bar[2], low), close)
            return
        if bar is not None:
            self._take_session(*bar)
        self._bar = (open_, high, low, close)
        self._end = -(-ts_ns // width) * width

    def _take_session(self, open_: float, high: float, low: float, close: float) -> None:
        before = self._close
        self._close = close
        self._moves.update(log_ratio(close, open_))
        self._ranges.update(rogers_satchell(open_, high, low, close))
        if before is None:
            return
        self._gaps.update(log_ratio(open_, before))
        gaps = self._gaps.value
        moves = self._moves.value
        ranges = self._ranges.value
        if gaps is None or moves is None or ranges is None:
            return
        n = self.window_sessions
        k = self._k
        sample = n / (n - 1)
        self.value = sample * (gaps.variance + k * moves.variance) + (1.0 - k) * (ranges / n)
