"""sha256 on a thread of its own, so that hashing a stream costs no time where a core is free."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

_SMALL = 1 << 14
"""Fewer bytes are hashed sooner than handed over."""
_WORTH_A_THREAD = 1 << 21
"""A stream of fewer bytes is hashed sooner than a thread is started."""


class BackgroundHash:
    """sha256 of the pieces given to `update`, in their order; use it as a context manager.

    A piece must not change once it was given; at most two are kept waiting.

    >>> with BackgroundHash() as hashed:
    ...     hashed.update(b"a")
    ...     hashed.update(b"bc")
    ...     hashed.hexdigest()[:8]
    'ba7816bf'
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._waiting: list[Future[None]] = []
        self._given = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        # Not waiting for the thread: a reader that an error left behind is closed by the garbage
        # collector, which may run while this very thread holds the lock that a join needs.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def update(self, data: bytes) -> None:
        while self._waiting and (len(self._waiting) == 2 or self._waiting[0].done()):
            self._waiting.pop(0).result()
        self._given += len(data)
        is_small = len(data) < _SMALL or self._given < _WORTH_A_THREAD
        if is_small and not self._waiting:
            self._hash.update(data)
            return
        self._waiting.append(self._pool.submit(self._hash.update, data))

    def hexdigest(self) -> str:
        """Hash of all that was given so far."""
        while self._waiting:
            self._waiting.pop(0).result()
        return self._hash.hexdigest()
