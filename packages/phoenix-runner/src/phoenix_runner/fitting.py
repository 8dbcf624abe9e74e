"""What settings are fitted on: the catalog over a training range, and nothing of what comes after.

A strategy whose settings have something to fit says so (`StrategySettings.needs_fit`) and fits it from
a [TrainingReplay][]. Walk-forward asks for each fold and parameter set; the fitted values are used in
the training run and written into the test's config, so its bundle shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pyarrow as pa
from phoenix_strategies.settings import StrategySettings

from phoenix_runner.backtest import run_backtest
from phoenix_runner.catalog_series import Catalog
from phoenix_runner.errors import SuiteError
from phoenix_runner.replay import Replay
from phoenix_runner.suite import Suite


@dataclass(frozen=True)
class TrainingReplay:
    """The range of a suite as a `phoenix_strategies.settings.TrainingRange`."""

    suite: Suite

    def bar_volumes(self) -> list[float]:
        """Base volumes of the 1-minute bars, in order."""
        suite, time = self.suite, self.suite.config.time
        include = ["Bar", "TradeTick"] if suite.config.data.bars_from_trades else ["Bar"]
        bars_only = replace(
            suite,
            config=msgspec.structs.replace(
                suite.config, data=msgspec.structs.replace(suite.config.data, include=include)
            ),
        )
        replay = Replay(
            bars_only, Catalog.open(suite.config.catalog.path), time.start_ns, time.end_ns
        )
        return [
            volume
            for window in replay.windows()
            for batch in window.batches
            if batch.type_name == "Bar"
            for volume in batch.table["volume"].cast(pa.float64()).to_pylist()
        ]

    def decision_values(self, settings: StrategySettings) -> list[Mapping[str, float]]:
        """Values of the decision trace of a run over the range; its warm-up does not count."""
        time = self.suite.config.time
        trace = msgspec.structs.replace(self.suite.config.trace, decisions=True, signals=False)
        config = msgspec.structs.replace(self.suite.config, trace=trace)
        result = run_backtest(
            replace(self.suite, config=config, settings=settings), time.start_ns, time.end_ns
        )
        assert result.decisions is not None  # asked for
        return [
            dict(row["values"])
            for row in result.decisions.select(["ts_ns", "values"]).to_pylist()
            if row["ts_ns"] >= time.start_ns
        ]


def fit(suite: Suite) -> tuple[Suite, dict[str, Any]]:
    """A suite with its settings fitted on its own range, and what was fitted, by key path."""
    if not suite.settings.needs_fit:
        return suite, {}
    if len(suite.traded) > 1:
        raise SuiteError(
            f"strategy.config: what {suite.spec.name} fits must be fitted on one instrument (was "
            f"{', '.join(suite.traded)}); set instrument_id, or give the values"
        )
    fitted = suite.settings.fit(TrainingReplay(suite))
    if type(fitted) is not type(suite.settings):  # a fit of the user's own may forget to return
        raise SuiteError(
            f"strategy.config: fit of {suite.spec.name} must return its settings (was "
            f"{type(fitted).__name__}); msgspec.structs.replace(self, name=value) makes them"
        )
    found = {
        f"strategy.config.{name}": value
        for name in fitted.__struct_fields__
        if (value := getattr(fitted, name)) != getattr(suite.settings, name)
    }
    return replace(suite, settings=fitted), found
