import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpn.process.interruption import STOP, StopRequest, ignore_stop, listen_for_stop

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    STOP.signal = None


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted(number: signal.Signals) -> None:
    listen_for_stop()
    assert not STOP.is_made()
    os.kill(os.getpid(), number)
    assert STOP.is_made()
    assert STOP.signal == number


def test_the_scheduler_may_ask_twice() -> None:
    listen_for_stop()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    assert STOP.is_made()


def test_the_second_ctrl_c_stops_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    request = StopRequest()
    request.note(signal.SIGINT)
    assert capsys.readouterr().err == "\nstopping after this step; Ctrl-C again stops at once\n"
    with pytest.raises(KeyboardInterrupt):
        request.note(signal.SIGINT)


def test_ctrl_c_after_the_schedulers_signal_is_a_first_one() -> None:
    request = StopRequest()
    request.note(signal.SIGTERM)
    request.note(signal.SIGINT)
    assert request.signal == signal.SIGINT


def test_helpers_do_not_listen() -> None:
    ignore_stop()
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    assert not STOP.is_made()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone can")
def test_a_child_dies_with_its_parent() -> None:
    """The parent is killed; the pipe that only the child still holds closes when it is gone."""
    program = textwrap.dedent("""
        import os, signal, time
        from cpn.process.interruption import die_with_parent
        if os.fork() == 0:
            die_with_parent()
            print("ready", flush=True)
            time.sleep(60)
        else:
            time.sleep(60)
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    assert parent.stdout.read() == b""
    parent.wait()
    parent.stdout.close()
