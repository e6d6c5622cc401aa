"""The demo as a program: where it listens, and how it ends."""

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import psutil
import pytest

from cpn.demo.serving import listen
from cpn.errors import UserError
from tests.demo.cases import file_of, photo

ROOT = Path(__file__).parents[2]
START = "serving on http://127.0.0.1:"


@pytest.fixture
def program(checkpoint: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [f"checkpoint={checkpoint}", "port=0", "device=cpu"]
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.long
def test_it_listens_on_this_machine_alone_until_ctrl_c(program: subprocess.Popen[str]) -> None:
    assert program.stderr is not None
    line = next(line for line in program.stderr if "serving" in line)
    assert line.startswith(START)
    assert line.endswith(" (Ctrl-C ends it)\n")
    port = int(line.removeprefix(START).split()[0])
    connections = psutil.Process(program.pid).net_connections("all")
    listening = [each.laddr for each in connections if each.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", port)]
    address = f"http://127.0.0.1:{port}/api/photos"
    with urllib.request.urlopen(address, file_of(photo()), timeout=20) as answer:
        assert answer.status == 200
    program.send_signal(signal.SIGINT)
    assert program.wait(10) == 0
    assert program.stderr.read() == "ended\n"


def test_a_taken_port_is_said() -> None:
    with listen(0) as first:
        host, port = first.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(UserError, match=f"port={port}: .*in use; give another port, or port=0"):
            listen(port)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("uvicorn", "starlette"):
        with monkeypatch.context() as patch:
            for name in [name for name in sys.modules if name.startswith(("cpn.demo", library))]:
                patch.delitem(sys.modules, name)
            patch.setitem(sys.modules, library, None)
            with pytest.raises(UserError, match=r"pip install 'cpn-pose\[demo\]'"):
                import_module("cpn.demo.serving")
