"""Errors of phoenix-etl: what, where, and what to do next."""

from __future__ import annotations

from phoenix_schemas.errors import PhoenixError


class EtlError(PhoenixError, RuntimeError):
    """Base of the errors of phoenix-etl."""


class SourceError(EtlError):
    """A source file cannot be read as what its name says; other files go on."""


class RejectLimitError(SourceError):
    """A file holds more bad rows than the configuration allows."""


class NothingFoundError(EtlError):
    """No file matches what was asked for."""

    exit_code = 3


class UsageError(EtlError):
    """A command or setting cannot be carried out as given."""

    exit_code = 2


class CatalogLockedError(EtlError):
    """Another process works on this catalog."""


class CatalogError(EtlError):
    """The catalog on disk is not what its manifest says."""
