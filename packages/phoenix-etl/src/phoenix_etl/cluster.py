"""Workers on other machines: a Dask cluster as an executor, for an ingest or for experiments.

Needs the extra `dask`, and raw roots and catalog on paths that every worker sees. Workers write to the
staging area only; the process that runs the ingest commits.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from phoenix_etl.config import EtlConfig
from phoenix_etl.errors import EtlError, UsageError

CONNECT_S = 15
WORKERS_S = 30


class ClusterExecutor(Executor):
    """The workers of a Dask client.

    Ours rather than `Client.get_executor`, whose futures wait for ever when the scheduler is lost while
    a result is on its way.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def settle(remote: Any) -> None:
            try:
                future.set_result(remote.result())
            except Exception as error:  # noqa: BLE001  it belongs to the future
                future.set_exception(error)

        # Not pure: what is done again must not be answered from what was done before.
        self._client.submit(fn, *args, pure=False, **kwargs).add_done_callback(settle)
        return future


@contextmanager
def dask_executor(address: str) -> Iterator[tuple[Executor, int]]:
    """The cluster of a scheduler (`tcp://host:8786`) as an executor, and its number of threads.

    Raises UsageError without the extra or for what is no address, EtlError when the scheduler cannot be
    reached, has no workers, or loses them.
    """
    try:
        from distributed import Client, KilledWorker
        from distributed.comm import CommClosedError
    except ImportError:
        raise UsageError(
            "--scheduler must have Dask installed; install it with: pip install distributed"
        ) from None
    # The error says what went wrong. Dask logs a traceback for every connection that a lost scheduler
    # leaves open, some of them when Python is about to leave.
    for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _refuse_silence(address)
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise _no_scheduler(address, error) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError:
            raise EtlError(
                f"{address}: the scheduler has no workers; start some, one for each core, with: "
                f"dask worker {address} --nworkers -1 --nthreads 1"
            ) from None
        threads = sum(client.ncores().values())
        try:
            yield ClusterExecutor(client), threads
        except (KilledWorker, CommClosedError, CancelledError) as error:
            why = (
                "several workers died of one task, most often for want of memory"
                if isinstance(error, KilledWorker)
                else "its scheduler does not answer any more"
            )
            raise EtlError(
                f"{address}: the cluster was lost: {why} ({type(error).__name__} {error}); the "
                "catalog is as it was after the last commit. Run the same command again, it goes on "
                "from there"
            ) from error


def _refuse_silence(address: str) -> None:
    """Refuse an address at which nobody listens; a client that was refused there takes half a minute to
    end, and not without a traceback."""
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not parts.scheme or not host or not port:
        raise UsageError(
            f"--scheduler must be an address such as tcp://10.0.0.5:8786 (was {address!r})"
        )
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        raise _no_scheduler(address, error) from None


def _no_scheduler(address: str, error: Exception) -> EtlError:
    return EtlError(
        f"{address}: no Dask scheduler answers there ({error}); start one with: dask scheduler"
    )


def on_shared_paths(config: EtlConfig, threads: int) -> EtlConfig:
    """Settings with absolute paths, because workers start in folders of their own, and as many tasks
    at a time as the cluster has threads, unless the settings say how many."""
    return msgspec.structs.replace(
        config,
        raw_roots=[str(Path(root).resolve()) for root in config.raw_roots],
        catalog_path=str(config.catalog.resolve()),
        ingest_workers=config.ingest_workers or threads,
    )
