"""Errors that people read: what is wrong, where, and what to do next.

Every Phoenix error derives from [PhoenixError][]; each package has one base of its own that also is
the builtin kind its callers would expect. Commands print the message alone, on one line of stderr,
and leave with the error's `exit_code`.
"""

from __future__ import annotations


class PhoenixError(Exception):
    """Base of every error that Phoenix raises on purpose."""

    exit_code = 1
    """What a command returns: 1 data failure, 2 wrong usage or config, 3 nothing found."""


class SchemaError(PhoenixError, ValueError):
    """Base of the errors of phoenix-schemas."""


class ConfigError(SchemaError):
    """A configuration file does not say what it must; the message names file, line and key."""

    exit_code = 2


class InstrumentError(SchemaError):
    """An instrument has no specification, or one that contradicts itself."""

    exit_code = 2
