"""What the simulation knows and the dump files do not say, written beside the raw root.

- `truth.json`: how the market was made, every file with its rows, every cascade, decoy and jump
  with its interval (ns UTC), and the planted defects of the `defects` profile.
- `SYMBOL-path.parquet`: per minute the latent value, the integrated variance of its diffusion, the
  mean rate, depth, stress and forced share, premium and open interest.
- `SYMBOL-forced.parquet`: the agg_trade_id of every forced print.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_etl.synthetic.draws import Floats, Ints, exp
from phoenix_etl.synthetic.latent import MINUTES, Latent
from phoenix_etl.synthetic.listing import Listing
from phoenix_etl.synthetic.prints import Prints
from phoenix_etl.synthetic.story import Day


class Truth:
    """Collects the truth of one symbol, day by day."""

    def __init__(self, listed: Listing) -> None:
        self._listed = listed
        self._paths: list[pa.Table] = []
        self._forced: list[Ints] = []
        self._episodes: list[dict[str, Any]] = []

    def add(self, day: Day, latent: Latent, prints: Prints) -> None:
        """Add one simulated day."""
        start = day.midnight_seconds

        def mean(values: Floats) -> Floats:
            return np.asarray(values.reshape(MINUTES, 60).mean(axis=1))

        grid = 10**self._listed.tick_decimals
        price = exp(latent.log_value[:-1:60]) * self._listed.price_ticks / grid
        columns = {
            "time": (start + 60 * np.arange(MINUTES)) * 10**9,
            "value": price,
            "log_value": latent.log_value[:-1:60],
            "integrated_variance": 60.0 * mean(latent.sigma * latent.sigma),
            "rate": mean(latent.rate),
            "depth": mean(latent.depth),
            "stress": mean(latent.stress),
            "forced": mean(latent.forced),
            "premium": latent.premium[:-1],
            "open_interest": exp(latent.log_interest[:-1])
            * (self._listed.interest_lots / 10**self._listed.lot_decimals),
        }
        self._paths.append(pa.table(columns))
        self._forced.append(prints.agg_id[prints.forced])
        self._episodes += list(self._episodes_of(day, start))

    def _episodes_of(self, day: Day, start: int) -> list[dict[str, Any]]:
        def interval(at: float, duration: float) -> dict[str, Any]:
            return {
                "symbol": self._listed.symbol,
                "start_ns": (start * 1000 + int(at * 1000)) * 10**6,
                "end_ns": (start * 1000 + int((at + duration) * 1000)) * 10**6,
            }

        found: list[dict[str, Any]] = []
        for kind, episodes in (("cascade", day.cascades), ("decoy", day.decoys)):
            for episode in episodes:
                facts = asdict(episode)
                at, duration = facts.pop("start"), facts.pop("duration")
                if kind == "decoy":
                    facts["decoy"] = facts.pop("kind")
                else:
                    facts["side"] = "buy" if facts["side"] > 0 else "sell"
                found.append({"kind": kind, **interval(at, duration), **facts})
        found += [
            {"kind": "jump", **interval(jump.at, 0.0), "move": jump.size} for jump in day.jumps
        ]
        return sorted(found, key=lambda episode: int(episode["start_ns"]))

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write the symbol's Parquet files and return its episodes."""
        pq.write_table(
            pa.concat_tables(self._paths), folder / f"{self._listed.symbol}-path.parquet"
        )
        pq.write_table(
            pa.table({"agg_trade_id": np.concatenate(self._forced)}),
            folder / f"{self._listed.symbol}-forced.parquet",
        )
        return self._episodes


def write_json(path: Path, truth: dict[str, Any]) -> None:
    """Write `truth.json`."""
    path.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
