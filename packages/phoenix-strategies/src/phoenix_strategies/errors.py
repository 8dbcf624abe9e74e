"""Errors of phoenix-strategies."""

from __future__ import annotations

from phoenix_schemas.errors import PhoenixError


class StrategyError(PhoenixError, ValueError):
    """Base of the errors of phoenix-strategies."""

    exit_code = 2
