"""What may not be cut by a signal, and that the signal is obeyed behind it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from bertc.core.signals import Terminated, ends_held, termination_raised

ENDS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]


@pytest.mark.parametrize(("number", "error"), ENDS)
def test_an_end_waits_for_the_block(number: signal.Signals, error: type[BaseException]) -> None:
    done = []
    with termination_raised(), pytest.raises(error), ends_held():
        send(number)
        done.append(number)
    assert done == [number]


@pytest.mark.parametrize(("number", "error"), ENDS)
def test_without_it_an_end_cuts(number: signal.Signals, error: type[BaseException]) -> None:
    done = []
    with termination_raised(), pytest.raises(error):
        send(number)
        done.append(number)
    assert not done


@pytest.mark.parametrize(("number", "error"), ENDS)
def test_an_error_of_the_block_does_not_lose_the_end(number: signal.Signals, error: type[BaseException]) -> None:
    with termination_raised(), pytest.raises(error) as raised, ends_held():
        send(number)
        raise ValueError("of the block")
    assert isinstance(raised.value.__context__, ValueError)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number, _ in ENDS]
    with ends_held():
        assert [signal.getsignal(number) for number, _ in ENDS] != before
    assert [signal.getsignal(number) for number, _ in ENDS] == before


def test_another_thread_needs_no_holding() -> None:
    before = [signal.getsignal(number) for number, _ in ENDS]
    seen: list[object] = []

    def hold() -> None:
        with ends_held():
            seen.extend(signal.getsignal(number) for number, _ in ENDS)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert seen == before


def send(number: signal.Signals) -> None:
    """Send this process a signal that another thread receives, as the system may choose."""
    assert callable(signal.getsignal(number)), "it would end the tests"
    if not hasattr(signal, "pthread_kill"):
        os.kill(os.getpid(), number)
        return
    other = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), number))
    other.start()
    other.join()
