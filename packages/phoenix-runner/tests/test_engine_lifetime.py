"""One engine at a time in a process, and nothing of it left to a collection in another thread."""

from __future__ import annotations

import gc
import threading
import time
import traceback
from types import FrameType

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


def test_a_run_inside_a_run_goes_on() -> None:
    done: list[bool] = []

    def nested() -> None:
        with collecting_here():
            with collecting_here():
                pass
            done.append(gc.isenabled())

    thread = threading.Thread(target=nested, daemon=True)  # a failure must not hang the tests
    thread.start()
    thread.join(timeout=60)
    assert done == [False]
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


def test_what_a_group_of_exceptions_held_dies_and_what_the_caller_handles_stays() -> None:
    def inner() -> None:
        held = Held()
        raise KeyError(id(held))

    def outer() -> None:
        try:
            inner()
        except KeyError as error:
            raise ExceptionGroup("several", [error]) from None

    def handled() -> None:
        kept = "of the caller"
        raise LookupError(kept)

    frames: list[FrameType] = []
    try:
        handled()
    except LookupError as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        with pytest.raises(ExceptionGroup), collecting_here():
            outer()
    assert frames[-1].f_locals["kept"] == "of the caller"
    assert not any(isinstance(each, Held) for each in gc.get_objects())


def test_ctrl_c_while_it_collects_leaves_the_collector_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gc, "collect", interrupted)
        with pytest.raises(KeyboardInterrupt), collecting_here():
            pass
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
