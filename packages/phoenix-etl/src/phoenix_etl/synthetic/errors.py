"""The error of the simulated market."""

from __future__ import annotations

from phoenix_schemas.errors import PhoenixError


class SyntheticError(PhoenixError, ValueError):
    """A simulated market was asked for in a way that cannot be simulated."""

    exit_code = 2
