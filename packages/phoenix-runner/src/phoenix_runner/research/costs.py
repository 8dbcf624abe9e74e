"""How much cost a strategy's trades can bear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from phoenix_runner.fills import Attribution


@dataclass(frozen=True)
class CostRow:
    """One run of a cost study: what was assumed, what came out, over `traded` notional.

    Money in the settlement currency; `traded` counts buys and sells.
    """

    label: str
    attribution: Attribution
    traded: Decimal
    fills: int

    @property
    def cost_bps(self) -> float | None:
        """Fees and spread paid per value traded, in bps (positive is a cost); None without trades."""
        paid = -(self.attribution.fees + self.attribution.spread)
        return float(paid * 10_000 / self.traded) if self.traded else None

    @property
    def break_even_bps(self) -> float | None:
        """Fees and spread per value traded, in bps, at which the net result would be zero.

        (gross + funding) / traded. Negative: no cost is low enough. None without trades.

        >>> d = Decimal
        >>> row = CostRow("VIP0", Attribution(d(30), d(-40), d(-10), d(0)), d(100_000), 20)
        >>> row.break_even_bps, row.cost_bps
        (3.0, 5.0)
        """
        earned = self.attribution.gross + self.attribution.funding
        return float(earned * 10_000 / self.traded) if self.traded else None


def cost_row(variant: Mapping[str, Any]) -> CostRow:
    """A row of a variants bundle as a cost row."""
    return CostRow(
        label=variant["variant"],
        attribution=Attribution(
            **{k: Decimal(variant[k]) for k in ("gross", "fees", "spread", "funding")}
        ),
        traded=Decimal(variant["traded_notional"]),
        fills=variant["fills"],
    )
