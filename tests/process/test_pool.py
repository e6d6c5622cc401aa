import os
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest

from cpn.process.pool import process_pool

ROOT = Path(__file__).parents[2]


def test_work_is_done_by_prepared_processes() -> None:
    with process_pool(1, prepare=partial(os.putenv, "WORKER", "ready")) as pool:
        found = pool.submit(subprocess.check_output, ["printenv", "WORKER"], text=True)
        assert found.result() == "ready\n"
        assert pool.submit(os.getpid).result() != os.getpid()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone can")
def test_the_processes_die_with_their_parent() -> None:
    """The pipe that only they still hold closes when they are gone."""
    program = textwrap.dedent("""
        import os, time
        from cpn.process.pool import process_pool
        pool = process_pool(1)
        pool.submit(os.getpid).result()
        pool.submit(time.sleep, 90)
        print("ready", flush=True)
        time.sleep(90)
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # multiprocessing's helper tells what the parent left
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    rest, _ = parent.communicate(timeout=30)
    assert rest == b""
