"""How much to trade: from a budget, a forecast or a fixed size to lots that a venue accepts.

Two steps, so that each can be checked by hand. First a *target* in quote currency, in floats,
because sigma and mu are estimates: [volatility_target][], [kelly_fraction][], [kelly_weights][].
Then [size_for_notional][] or [size_fixed][] turn the target into a quantity, in decimals, because
quantities are money: every cap is applied, the smallest wins, the result is rounded down to the
lot, and a quantity the venue would refuse is refused here, with the reason.

    equity, sigma, budget --volatility_target--> notional --size_for_notional--> Size(quantity, why)

`Size.limited_by` names what decided (`target` or a cap) and `Size.refusal` why nothing is traded;
strategies count both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from phoenix_strategies.errors import SettingsError, StrategyError
from phoenix_strategies.order_rules import OrderRules, exact

ZERO = Decimal(0)
BPS = 10_000.0


class Caps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Upper bounds on a position; None leaves one out. The smallest of them wins.

    max_notional: in quote currency. max_leverage: notional over equity. max_quantity: in base
    currency. max_depth_share: of the quantity visible on the side that is taken, in (0, 1].
    """

    max_notional: Decimal | None = None
    max_leverage: float | None = None
    max_quantity: Decimal | None = None
    max_depth_share: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SettingsError(f"{name} must be positive (was {value}); leave it out for none")
        if self.max_depth_share is not None and self.max_depth_share > 1:
            raise SettingsError(
                f"max_depth_share must be at most 1 (was {self.max_depth_share}); 0.1 is a tenth"
            )


Limit = Literal[
    "target",
    "max_notional",
    "max_leverage",
    "max_quantity",
    "max_depth_share",
    "venue_max_quantity",
]


@dataclass(frozen=True, slots=True)
class Size:
    """A quantity that can be sent (0 if refused), what decided it, and why it was refused."""

    quantity: Decimal
    limited_by: Limit
    refusal: str | None = None


def size_for_notional(
    notional: float,
    *,
    price: Decimal,
    rules: OrderRules,
    caps: Caps | None = None,
    equity: float | None = None,
    visible_quantity: Decimal | None = None,
    reduce_only: bool = False,
) -> Size:
    """The quantity for a target notional: capped, rounded down to the lot, or refused.

    Q = floor_lot(min(N, caps) / price). `price` is the one the order would trade at (ask to buy,
    bid to sell, or the limit). `equity` in quote currency is needed with `max_leverage`,
    `visible_quantity` with `max_depth_share`; without it the order is refused, since a cap that
    cannot be checked is not kept.

    >>> perp = OrderRules(Decimal("0.10"), Decimal("0.001"), Decimal("0.001"), None, Decimal("5"))
    >>> size_for_notional(1000.0, price=Decimal("70000"), rules=perp)
    Size(quantity=Decimal('0.014'), limited_by='target', refusal=None)
    >>> size_for_notional(1000.0, price=Decimal("70000"), rules=perp,
    ...                   caps=Caps(max_leverage=2.0), equity=210.0)
    Size(quantity=Decimal('0.006'), limited_by='max_leverage', refusal=None)
    >>> size_for_notional(4.0, price=Decimal("1000"), rules=perp).refusal
    'min_notional'
    """
    if not math.isfinite(notional):
        raise StrategyError(f"notional must be finite (was {notional}); check sigma and mu")
    if price <= 0:
        raise StrategyError(f"price must be positive (was {price}); wait for a quote")
    if notional <= 0:
        return Size(ZERO, "target", "no_edge")
    with localcontext() as context:
        context.prec = 60
        context.rounding = ROUND_FLOOR
        wanted = Decimal(notional) / price
    return _cap_and_round(
        wanted, price, rules, caps or Caps(), equity, visible_quantity, reduce_only
    )


def size_fixed(
    quantity: Decimal,
    *,
    price: Decimal,
    rules: OrderRules,
    caps: Caps | None = None,
    equity: float | None = None,
    visible_quantity: Decimal | None = None,
    reduce_only: bool = False,
) -> Size:
    """A fixed quantity through the same caps, rounding and refusals as every other.

    >>> perp = OrderRules(Decimal("0.10"), Decimal("0.001"), Decimal("0.001"), None, Decimal("5"))
    >>> size_fixed(Decimal("0.0105"), price=Decimal("70000"), rules=perp).quantity
    Decimal('0.010')
    """
    return _cap_and_round(
        quantity, price, rules, caps or Caps(), equity, visible_quantity, reduce_only
    )


def _cap_and_round(
    wanted: Decimal,
    price: Decimal,
    rules: OrderRules,
    caps: Caps,
    equity: float | None,
    visible_quantity: Decimal | None,
    reduce_only: bool,
) -> Size:
    with localcontext() as context:
        context.prec = 60
        context.rounding = ROUND_FLOOR
        bounds: list[tuple[Decimal, Limit]] = [(wanted, "target")]
        if caps.max_notional is not None:
            bounds.append((caps.max_notional / price, "max_notional"))
        if caps.max_leverage is not None:
            if equity is None:
                return Size(ZERO, "max_leverage", "equity_unknown")
            room = Decimal(max(equity, 0.0)) * exact(caps.max_leverage)
            bounds.append((room / price, "max_leverage"))
        if caps.max_quantity is not None:
            bounds.append((caps.max_quantity, "max_quantity"))
        if caps.max_depth_share is not None:
            if visible_quantity is None:
                return Size(ZERO, "max_depth_share", "depth_unknown")
            bounds.append((visible_quantity * exact(caps.max_depth_share), "max_depth_share"))
        if rules.max_quantity is not None:
            bounds.append((rules.max_quantity, "venue_max_quantity"))
        bound, limited_by = min(bounds, key=lambda pair: pair[0])  # ties: the earlier name
    quantity = rules.lots(bound)
    refusal = rules.refusal(quantity, price, reduce_only=reduce_only)
    return Size(ZERO if refusal else quantity, limited_by, refusal)


def volatility_target(
    *, equity: float, risk_budget_bps: float, sigma_per_bar: float, holding_bars: float
) -> float:
    """Notional whose one-sigma loss over the holding time is the risk budget.

    N = b E / (sigma_per_bar sqrt(holding_bars)), b = risk_budget_bps / 10,000.

    By hand: E = 100,000, b = 20 bps = 0.002, sigma = 0.0005 per bar, 16 bars: the position's
    sigma is 0.0005 * 4 = 0.002, so N = 0.002 * 100,000 / 0.002 = 100,000.

    >>> volatility_target(equity=100_000, risk_budget_bps=20, sigma_per_bar=0.0005, holding_bars=16)
    100000.0

    A sigma of 0 (a flat market) has no finite target and is an error: callers floor it first, see
    `min_volatility` in the Phoenix strategy.
    """
    _positive("sigma_per_bar", sigma_per_bar, "floor it before sizing, 0.0005 is typical")
    _positive("holding_bars", holding_bars, "15 is typical")
    _not_negative("risk_budget_bps", risk_budget_bps, "20 to 50 is typical")
    return risk_budget_bps / BPS * max(equity, 0.0) / (sigma_per_bar * math.sqrt(holding_bars))


def shrink_budget(
    risk_budget_bps: float,
    *,
    spread_bps: float | None = None,
    spread_ref_bps: float | None = None,
    vpin: float | None = None,
    vpin_ref: float | None = None,
) -> float:
    """The risk budget, smaller when the spread or VPIN stands above its reference.

    b' = b * min(1, spread_ref / spread) * min(1, vpin_ref / vpin): twice the usual spread halves
    the budget. A missing value or reference leaves its factor at 1. Never raises the budget.

    >>> shrink_budget(40.0, spread_bps=2.0, spread_ref_bps=1.0)
    20.0
    >>> shrink_budget(40.0, spread_bps=0.5, spread_ref_bps=1.0, vpin=0.6, vpin_ref=0.3)
    20.0
    """
    _not_negative("risk_budget_bps", risk_budget_bps, "20 to 50 is typical")
    return risk_budget_bps * _shrink(spread_bps, spread_ref_bps) * _shrink(vpin, vpin_ref)


def _shrink(value: float | None, reference: float | None) -> float:
    if value is None or reference is None or value <= reference:
        return 1.0
    return reference / value


def kelly_fraction(
    *,
    mu_horizon: float,
    sigma_per_bar: float,
    holding_bars: float,
    jump_variance_horizon: float = 0.0,
    kappa: float = 0.5,
) -> float:
    """Fraction of equity by continuous Kelly over one holding horizon H.

    f = kappa mu_H / (sigma_per_bar^2 holding_bars + jump_variance_H): mean and variance both over
    H. f <= 0 means no trade.

    By hand: mu = 0.0005, sigma = 0.001 per bar, 60 bars: variance 6e-5, jumps 1e-4, together
    1.6e-4; half Kelly f = 0.5 * 0.0005 / 0.00016 = 1.5625.

    >>> round(kelly_fraction(mu_horizon=0.0005, sigma_per_bar=0.001, holding_bars=60,
    ...                      jump_variance_horizon=0.0001), 10)
    1.5625
    """
    _positive("holding_bars", holding_bars, "60 one-minute bars is typical")
    _not_negative("kappa", kappa, "0.5 is half Kelly")
    _not_negative("jump_variance_horizon", jump_variance_horizon, "0.0001 is typical")
    variance = sigma_per_bar * sigma_per_bar * holding_bars + jump_variance_horizon
    _positive("variance over the horizon", variance, "floor sigma, 0.001 is typical")
    return kappa * mu_horizon / variance


def kelly_weights(
    mu: Sequence[float] | NDArray[np.float64],
    covariance: Sequence[Sequence[float]] | NDArray[np.float64],
    *,
    kappa: float = 0.5,
    max_weight: float,
    max_gross: float,
) -> NDArray[np.float64]:
    """Fractions of equity for several assets: f = kappa Sigma^-1 mu, clipped, then scaled.

    Each weight is clipped to [-max_weight, max_weight]; then, if the gross sum |f_i| exceeds
    `max_gross`, all are scaled by the same factor. `mu` (n,) and `covariance` (n, n) are over the
    same horizon; `covariance` must be symmetric and positive definite.

    >>> kelly_weights([0.001, 0.001], [[0.001, 0.0], [0.0, 0.002]], max_weight=2, max_gross=9)
    array([0.5 , 0.25])
    >>> kelly_weights([0.001, 0.001], [[0.001, 0.0], [0.0, 0.002]], max_weight=0.4, max_gross=0.52)
    array([0.32, 0.2 ])
    """
    drift = np.asarray(mu, dtype=np.float64)
    sigma = np.asarray(covariance, dtype=np.float64)
    if drift.ndim != 1 or sigma.shape != (drift.size, drift.size):
        raise StrategyError(
            f"covariance must have shape ({drift.size}, {drift.size}) (was {sigma.shape}); "
            "one row and column per asset of mu"
        )
    if not (np.isfinite(drift).all() and np.isfinite(sigma).all()):
        raise StrategyError("mu and covariance must be finite (had NaN or inf); drop those assets")
    _not_negative("kappa", kappa, "0.5 is half Kelly")
    _positive("max_weight", max_weight, "1 is the whole equity in one asset")
    _positive("max_gross", max_gross, "2 is typical")
    if not np.allclose(sigma, sigma.T, rtol=1e-9, atol=0.0):
        raise StrategyError("covariance must be symmetric (was not); take (S + S.T) / 2")
    try:
        np.linalg.cholesky(sigma)
    except np.linalg.LinAlgError:
        raise StrategyError(
            "covariance must be positive definite (was not); "
            "shrink it, see phoenix_signals.covariance"
        ) from None
    weights = np.clip(kappa * np.linalg.solve(sigma, drift), -max_weight, max_weight)
    gross = float(np.abs(weights).sum())
    return weights * (max_gross / gross) if gross > max_gross else weights


def _positive(name: str, value: float, typical: str) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise StrategyError(f"{name} must be positive and finite (was {value}); {typical}")


def _not_negative(name: str, value: float, typical: str) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise StrategyError(f"{name} must not be negative or infinite (was {value}); {typical}")
