"""One engine at a time in a process, and nothing of it left to a collection in another thread."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from phoenix_runner.engine_lifetime import collecting_here


def test_a_second_thread_waits_and_the_collector_is_as_before() -> None:
    inside: list[int] = []
    most: list[int] = []

    def run() -> None:
        with collecting_here():
            assert not gc.isenabled()
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    assert gc.isenabled()


class Held:
    """Stands for an engine."""


def test_what_a_chain_of_exceptions_held_dies_before_them() -> None:
    born: list[int] = []

    def first() -> None:
        held = Held()
        born.append(id(held))
        raise KeyError("first")

    def second() -> None:
        held = Held()
        born.append(id(held))
        try:
            first()
        except KeyError as error:
            raise ValueError("second") from error

    with pytest.raises(ValueError, match="second") as caught, collecting_here():
        second()
    assert isinstance(caught.value.__cause__, KeyError)
    assert len(born) == 2
    assert not any(isinstance(each, Held) for each in gc.get_objects())
    assert gc.isenabled()
