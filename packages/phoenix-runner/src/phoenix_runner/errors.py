"""The base of every error that phoenix-runner raises on purpose."""

from __future__ import annotations

from phoenix_schemas.errors import PhoenixError


class RunnerError(PhoenixError, ValueError):
    """Base of the errors of phoenix-runner."""
