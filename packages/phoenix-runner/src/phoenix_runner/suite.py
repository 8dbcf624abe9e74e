"""A suite, read and checked: everything that can be wrong in it is found here, before any work.

[load_suite][] reads the file twice: once to learn the strategy's name, once with that strategy's
settings as the type of `strategy.config`, so that an error in them names file, line and key too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec
from nautilus_trader.model import Money
from phoenix_schemas.errors import ConfigError, InstrumentError
from phoenix_schemas.instruments import InstrumentSpec, load_instrument_specs
from phoenix_schemas.yaml_config import decode_config, json_schema, parse_yaml
from phoenix_strategies import registry
from phoenix_strategies.registry import StrategySpec
from phoenix_strategies.settings import StrategySettings

from phoenix_runner.catalog_series import Catalog
from phoenix_runner.config import Section, StrategySection, SuiteConfig
from phoenix_runner.errors import RunnerError, SuiteError

SPECS_FILE = "instrument_specs.yaml"
"""Name of the specs that an ingest copies beside its catalog."""


@dataclass(frozen=True)
class Suite:
    """A checked suite: the config with the strategy's settings typed, and what it refers to."""

    config: SuiteConfig
    spec: StrategySpec
    settings: StrategySettings
    instruments: Mapping[str, InstrumentSpec]
    """The universe, in its order, with the suite's leverage applied."""

    @property
    def traded(self) -> list[str]:
        """Instruments that get a strategy."""
        wanted = self.settings.instrument_id
        return list(self.instruments) if wanted is None else [wanted]

    def to_builtins(self) -> dict[str, Any]:
        """The resolved config as plain values, every default that counts written out."""
        values: dict[str, Any] = msgspec.to_builtins(self.config, str_keys=True)
        values["funding"] = msgspec.to_builtins(self.config.funding_section)
        # A tier or rates that the source does not use would read as what was paid.
        fees = values["execution"]["fees"]
        used = {"spec": (), "tier": ("tier",), "rates": ("maker", "taker")}[fees["source"]]
        values["execution"]["fees"] = {k: fees[k] for k in ("source", *used)}
        return values


def require_suite(suite: object) -> None:
    """Raise SuiteError for what is no [Suite][], as the path of its file."""
    if not isinstance(suite, Suite):
        raise SuiteError(
            f"suite must be a Suite (was {type(suite).__name__}); load_suite(path) reads one from its "
            "file, suite_from(values, source=...) makes one of a dict"
        )


def load_suite(
    path: Path | str, overrides: Iterable[str] = (), *, kind: str | None = None
) -> Suite:
    """A suite from its file, with `key.path=value` overrides (values in YAML) applied.

    `kind` has a suite of another mode become one of that mode, with its defaults, before them.

    Raises ConfigError (or another error with exit code 2) that names file, line and key.
    """
    if not isinstance(path, str | os.PathLike):
        raise SuiteError(
            f"suite must be named by the path of its file (was {type(path).__name__}); of a dict make "
            "with suite_from(values, source=...)"
        )
    if isinstance(overrides, str | Mapping):
        raise SuiteError(
            f"overrides must be a list of key.path=value (was {overrides!r}); as "
            '["output.dir=runs", "strategy.config.fast_bars=5"]'
        )
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such suite; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: must be UTF-8 text ({error})") from None
    data = parse_yaml(text, dict[str, Any], source=str(path))
    overrides = list(overrides)
    mode = data.get("mode")
    other = kind is not None and not (isinstance(mode, dict) and mode.get("kind") == kind)
    if other:
        data["mode"] = {"kind": kind}
    for override in overrides:
        _override(data, override)
    if overrides:
        return suite_from(data, source=f"{path} with --set")
    typed = _typed(_strategy_of(data, str(path)))
    checked = _checked(parse_yaml(text, typed, source=str(path)), str(path))
    return suite_from(data, source=str(path)) if other else checked


def suite_from(data: Mapping[str, Any], *, source: str) -> Suite:
    """A suite from plain values, by the keys of a suite file; `source` names them in errors.

    Times and paths are text. Raises ConfigError as [load_suite][] does.

    >>> suite = suite_from(
    ...     {
    ...         "catalog": {"path": "data/catalog/binance"},
    ...         "universe": {"instrument_ids": ["BTCUSDT-PERP.BINANCE"]},
    ...         "time": {"start_utc": "2024-01-01", "end_utc": "2024-01-02"},
    ...         "execution": {"bar_execution": {"spread_bps": 2.0}},
    ...         "strategy": {"name": "ema_cross", "config": {"fast_bars": 5, "slow_bars": 20}},
    ...         "funding": "off",
    ...     },
    ...     source="notebook",
    ... )
    >>> suite.settings.fast_bars, suite.config.time.end_ns - suite.config.time.start_ns
    (5, 86400000000000)
    """
    typed = _typed(_strategy_of(data, source))
    return _checked(decode_config(data, typed, source=source), source)


def settings_refusal(data: Mapping[str, Any]) -> str | None:
    """Why the strategy's own settings refuse `strategy.config` of plain values, if they do."""
    spec, section = _strategy_of(data, ""), data.get("strategy")
    config = section.get("config", {}) if isinstance(section, Mapping) else {}
    try:
        decode_config(config, spec.settings_type, source="-")
    except ConfigError as error:
        _source, _path, reason = str(error).split(": ", 2)
        return reason
    return None


def suite_schema(strategy: str = registry.DEFAULT) -> dict[str, Any]:
    """JSON Schema of a suite file with that strategy's settings."""
    return json_schema(_typed(registry.find(strategy)))


def _strategy_of(data: Any, source: str) -> StrategySpec:
    section = data.get("strategy") if isinstance(data, Mapping) else None
    name = section.get("name", registry.DEFAULT) if isinstance(section, Mapping) else None
    if not isinstance(name, str):
        name = registry.DEFAULT  # a wrong type is the typed reading's to report
    try:
        return registry.find(name)
    except ValueError as error:
        raise ConfigError(f"{source}: at $.strategy.name: {error}") from None


def _typed(spec: StrategySpec) -> type[SuiteConfig]:
    """SuiteConfig whose `strategy.config` has the type of the strategy's settings."""
    settings = spec.settings_type
    options: dict[str, Any] = {"frozen": True, "forbid_unknown_fields": True, "kw_only": True}
    section = msgspec.defstruct(
        "StrategySection",
        [
            ("name", str, registry.DEFAULT),
            ("config", settings, msgspec.field(default_factory=settings)),
        ],
        bases=(Section,),
        **options,
    )
    suite: Any = msgspec.defstruct(
        "SuiteConfig",
        [("strategy", section, msgspec.field(default_factory=section))],
        bases=(SuiteConfig,),
        **options,
    )
    return cast("type[SuiteConfig]", suite)


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set must be key.path=value (was {override!r})")
    *parents, last = key.split(".")
    here = data
    for part in parents:
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise ConfigError(f"--set {key}: {part!r} must be a section (was {here!r})")
    here[last] = parse_yaml(f"value: {text}", dict[str, Any], source=f"--set {key}")["value"]


def _checked(config: SuiteConfig, source: str) -> Suite:
    def refuse(key: str, rule: str) -> SuiteError:
        return SuiteError(f"{source}: at $.{key}: {rule}")

    strategy: StrategySection = config.strategy
    spec = registry.find(strategy.name)
    settings: StrategySettings = strategy.config  # type: ignore[assignment]  # see _typed
    instruments = _instruments(config, refuse)
    _check_money(config, instruments, refuse)
    if settings.instrument_id is not None and settings.instrument_id not in instruments:
        raise refuse(
            "strategy.config.instrument_id",
            f"must be one of universe.instrument_ids (was {settings.instrument_id!r})",
        )
    include = set(config.data.include)
    _check_answers(spec, settings, refuse)
    if missing := sorted(spec.data_types(settings) - include):
        raise refuse(
            "data.include",
            f"must have {', '.join(missing)}, which strategy {spec.name} decides on "
            f"(was {', '.join(config.data.include)})",
        )
    if config.data.bars_from_trades and not {"Bar", "TradeTick"} <= include:
        raise refuse("data.bars_from_trades", "must go with Bar and TradeTick in data.include")
    config = _with_queues(config, spec, settings)
    _check_execution(config, spec, settings, refuse)
    _check_pins(config, spec, settings, refuse)
    suite = Suite(config=config, spec=spec, settings=settings, instruments=instruments)
    _check_lots(suite, refuse)
    return suite


def _check_answers(spec: StrategySpec, settings: StrategySettings, refuse: Any) -> None:
    """A spec of the user's own may raise or answer anything."""
    for part, type_ in (
        ("data_types", frozenset[str]),
        ("posts_limit_orders", bool),
        ("estimators", dict[str, int]),
        ("longest_holding_ns", int),
    ):
        try:
            msgspec.convert(getattr(spec, part)(settings), type_)
        except Exception as error:
            raise refuse(
                "strategy.name",
                f"{part} of {spec.name} must give its answer for these settings "
                f"({type(error).__name__}: {error})",
            ) from error


def _instruments(config: SuiteConfig, refuse: Any) -> dict[str, InstrumentSpec]:
    specs, path = _specs(config)
    found = {}
    for position, name in enumerate(config.universe.instrument_ids):
        key = f"universe.instrument_ids[{position}]"
        spec = specs.get(name)
        if spec is None:
            known = ", ".join(sorted(specs))
            raise refuse(key, f"no specification of {name!r} in {path}; "
                         f"add it there or use one of {known}")  # fmt: skip
        if spec.class_ == "spot":
            perpetual = name.replace(".", "-PERP.", 1)
            raise refuse(
                key,
                f"must be a perpetual (was {name}, which names spot); did you mean {perpetual}?",
            )
        if config.universe.leverage is not None:
            try:
                spec = spec.with_leverage(config.universe.leverage)
            except InstrumentError as error:
                raise refuse("universe.leverage", str(error)) from None
        found[name] = spec
    return found


def _check_money(
    config: SuiteConfig, instruments: Mapping[str, InstrumentSpec], refuse: Any
) -> None:
    universe = config.universe
    currencies = sorted({spec.settlement_currency for spec in instruments.values()})
    if len(currencies) > 1:
        raise refuse(
            "universe.instrument_ids",
            f"must settle in one currency (was {' and '.join(currencies)}); run them apart",
        )
    settled = currencies[0]
    if universe.base_currency not in (None, settled):
        raise refuse(
            "universe.base_currency",
            f"must be {settled}, in which the universe settles (was {universe.base_currency}); leave "
            "it out",
        )
    [balance] = universe.starting_balances
    amount, currency = balance.split()
    if currency != settled:
        raise refuse(
            "universe.starting_balances",
            f"must be in {settled}, in which the universe settles (was {balance!r}); "
            f'"10000 {settled}" is typical',
        )
    try:
        exact = Money.from_str(balance).as_decimal() == Decimal(amount)
    except ValueError:  # more than the engine's integers hold
        exact = False
    if not exact:
        raise refuse(
            "universe.starting_balances",
            f"must be an amount that {settled} can hold (was {balance!r}); "
            f'"10000 {settled}" is typical',
        )


def _check_lots(suite: Suite, refuse: Any) -> None:
    """A fixed size below the smallest order would trade nothing, and say so only at the end."""
    wanted = getattr(suite.settings, "trade_size", None)
    if not isinstance(wanted, Decimal):
        return
    if not wanted.is_finite():
        raise refuse(
            "strategy.config.trade_size", f"must be a number (was {wanted}); 0.01 is typical"
        )
    for name in suite.traded:
        spec = suite.instruments[name]
        smallest = max(spec.size_increment, spec.min_quantity)
        if wanted < smallest:
            raise refuse(
                "strategy.config.trade_size",
                f"must be at least {smallest}, the smallest order in {name} (was {wanted})",
            )


def _specs(config: SuiteConfig) -> tuple[dict[str, InstrumentSpec], str]:
    """The specs that apply, and where they are from."""
    explicit = config.catalog.instrument_specs_path
    if explicit is not None:
        return load_instrument_specs(explicit), explicit
    catalog = config.catalog.path
    if "://" in catalog:
        with contextlib.suppress(RunnerError):  # whether it is there is the run's to say
            if (text := Catalog.open(catalog).read_text(SPECS_FILE)) is not None:
                with tempfile.TemporaryDirectory() as folder:
                    copy = Path(folder) / SPECS_FILE
                    copy.write_text(text, encoding="utf-8")
                    return load_instrument_specs(copy), f"{SPECS_FILE} of the catalog"
    elif (beside := Path(catalog) / SPECS_FILE).is_file():
        return _specs_of(beside, beside.stat().st_mtime_ns), str(beside)
    return _packaged_specs(), "the packaged baseline"


@functools.lru_cache(4)
def _specs_of(path: Path, _changed_ns: int) -> dict[str, InstrumentSpec]:
    """Read once for each state of the file."""
    return load_instrument_specs(path)


@functools.cache
def _packaged_specs() -> dict[str, InstrumentSpec]:
    """Read once: a suite of many runs is checked as many times."""
    return load_instrument_specs()


def _with_queues(
    config: SuiteConfig, spec: StrategySpec, settings: StrategySettings
) -> SuiteConfig:
    """The config with `trade_execution` and `queue_position` decided where it leaves them open."""
    execution = config.execution
    resting = "TradeTick" in config.data.include and spec.posts_limit_orders(settings)
    trades = execution.trade_execution
    if trades is None:
        trades = resting or bool(execution.queue_position)
    queue = execution.queue_position
    decided = msgspec.structs.replace(
        execution,
        trade_execution=trades,
        queue_position=trades and resting if queue is None else queue,
    )
    return msgspec.structs.replace(config, execution=decided)


def _check_execution(
    config: SuiteConfig, spec: StrategySpec, settings: StrategySettings, refuse: Any
) -> None:
    execution, include = config.execution, set(config.data.include)
    if "QuoteTick" in include and execution.bar_execution is not None:
        raise refuse(
            "execution.bar_execution",
            "must be absent when QuoteTick is in data.include: bars must not move a market that "
            "has quotes",
        )
    if "QuoteTick" not in include:
        if execution.bar_execution is None:
            raise refuse(
                "execution.bar_execution",
                "must be given when data.include has no QuoteTick: say what spread to assume, as "
                "{spread_bps: 2.0, slippage_bps: 0.5}",
            )
        if "Bar" not in include:
            raise refuse("data.include", "must have QuoteTick or Bar: something must make a market")
    if execution.trade_execution and "TradeTick" not in include:
        raise refuse("execution.trade_execution", "must go with TradeTick in data.include")
    realistic = execution.trade_execution and execution.queue_position
    if "TradeTick" in include and spec.posts_limit_orders(settings) and not realistic:
        raise refuse(
            "execution",
            f"must have trade_execution: true and queue_position: true, because {spec.name} posts "
            "limit orders beside trades; without them no trade fills a resting order, or fills it "
            "as if nobody stood in front",
        )


def _check_pins(
    config: SuiteConfig, spec: StrategySpec, settings: StrategySettings, refuse: Any
) -> None:
    versions = spec.estimators(settings)
    for position, pin in enumerate(config.signals):
        key = f"signals[{position}]"
        if pin.id not in versions:
            used = ", ".join(sorted(versions)) or "none"
            raise refuse(key, f"{pin.id!r} must be an estimator of {spec.name} (it uses: {used})")
        if versions[pin.id] != pin.version:
            raise refuse(
                key,
                f"{pin.id} must have version {pin.version} (installed is {versions[pin.id]}); "
                "install the phoenix-signals that has it, or pin the installed version",
            )
