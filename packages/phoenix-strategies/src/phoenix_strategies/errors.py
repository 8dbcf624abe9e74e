"""Errors of phoenix-strategies: a wrong setting, an unknown name, a callback that raised."""

from __future__ import annotations

from phoenix_schemas.errors import PhoenixError


class StrategyError(PhoenixError, ValueError):
    """Base of the errors of phoenix-strategies."""


class SettingsError(StrategyError):
    """A strategy's settings contradict each other or the suite around them."""

    exit_code = 2


class UnknownStrategyError(StrategyError):
    """A suite names a strategy that is neither registered nor importable."""

    exit_code = 2


class CallbackError(StrategyError):
    """A strategy or execution algorithm raised inside a callback.

    The engine would have swallowed it. `where` names class and callback, `ts_ns` the engine's time (None
    inside a command of the component's own), and `__cause__` is what was raised, traceback included.
    """

    def __init__(self, where: str, ts_ns: int | None, cause: BaseException) -> None:
        super().__init__(f"{where} raised {type(cause).__name__}: {cause}")
        self.where = where
        self.ts_ns = ts_ns
        self.__cause__ = cause
