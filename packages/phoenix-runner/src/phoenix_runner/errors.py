"""The base of every error that phoenix-runner raises on purpose."""

from __future__ import annotations

from phoenix_schemas.errors import PhoenixError


class RunnerError(PhoenixError, ValueError):
    """Base of the errors of phoenix-runner."""


class SuiteError(RunnerError):
    """A suite asks for something that contradicts itself, its strategy or its catalog."""

    exit_code = 2


class NoDataError(RunnerError):
    """The catalog has nothing of what a suite asks for."""

    exit_code = 3


class BundleError(RunnerError):
    """A run's folder is missing, unfinished or not what its hash says."""


class NoRunError(BundleError):
    """No finished run has the name that was given."""

    exit_code = 3


class StrategyFailedError(RunnerError):
    """A strategy raised in a callback; the message names class, callback and log file."""


class InterruptedRunError(RunnerError):
    """The user stopped the run; nothing was published."""

    exit_code = 130
