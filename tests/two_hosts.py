"""Two "hosts" train together over gloo; one of them is killed and started again.

    python tests/two_hosts.py [--kills 2] [--seed 0]

The hosts are network namespaces with a cable between them, one rank each; making them needs root on
Linux. The last line is `kills=2 mismatches=0`; the exit code is 1 if the result is another than
without the kills, and 0 with a line that says why where namespaces cannot be made.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.whole_runs import digest, make_people, run_overrides, torchrun

HOSTS = ("cpn-host-a", "cpn-host-b")
ADDRESSES = ("10.213.7.1", "10.213.7.2")
TIMEOUT_SECONDS = 300.0


def why_not() -> str:
    """Why there can be no namespaces here; empty if there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    return "" if shutil.which("ip") else "there is no `ip` (package iproute2)"


@contextmanager
def two_hosts() -> Iterator[None]:
    """Two namespaces, joined by a pair of virtual network cards."""
    try:
        for host in HOSTS:
            _ip("netns", "add", host)
            _ip("-n", host, "link", "set", "lo", "up")
        _ip(
            "link",
            "add",
            "cpn0",
            "netns",
            HOSTS[0],
            "type",
            "veth",
            "peer",
            "cpn0",
            "netns",
            HOSTS[1],
        )
        for host, address in zip(HOSTS, ADDRESSES, strict=True):
            _ip("-n", host, "address", "add", f"{address}/24", "dev", "cpn0")
            _ip("-n", host, "link", "set", "cpn0", "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "delete", host], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def start(host: int, overrides: list[str], log: Path) -> subprocess.Popen[bytes]:
    """One host's torchrun; the first host has the meeting point."""
    options = [
        *("--nnodes=2", "--nproc-per-node=1", "--max-restarts=10", f"--node-rank={host}"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:29400", "--rdzv-id=cpn"),
        *(f"--rdzv-conf=is_host={int(host == 0)}", f"--local-addr={ADDRESSES[host]}"),
    ]
    return torchrun(
        options,
        overrides,
        log=log,
        prefix=["ip", "netns", "exec", HOSTS[host]],
        environment={"GLOO_SOCKET_IFNAME": "cpn0", "TP_SOCKET_IFNAME": "cpn0"},
    )


def steps_done(run: Path) -> int:
    """The newest step that the log tells of."""
    log = run / "metrics.jsonl"
    return log.read_text().count('"kind": "train"') * 5 if log.exists() else 0


def train(folder: Path, name: str, kill_after: list[int]) -> str:
    """What two hosts come to, the second of which is killed when so many steps are logged."""
    overrides, run = run_overrides(folder, name), folder / "runs" / name
    logs = [folder / f"{name}_{host}.log" for host in HOSTS]
    first, second = (start(host, overrides, logs[host]) for host in (0, 1))
    try:
        for step in kill_after:
            end = time.monotonic() + TIMEOUT_SECONDS
            while steps_done(run) < step and time.monotonic() < end:
                time.sleep(0.05)
            pids = subprocess.run(
                ["ip", "netns", "pids", HOSTS[1]], check=True, capture_output=True, text=True
            ).stdout.split()
            subprocess.run(["kill", "-9", *pids], check=True)
            second.wait()
            print(f"{HOSTS[1]} killed after step {steps_done(run)} or later", flush=True)
            second = start(1, overrides, logs[1])
        codes = [each.wait(TIMEOUT_SECONDS) for each in (first, second)]
    finally:
        for each in (first, second):
            each.kill()
    if any(codes):
        told = "\n".join(log.read_text()[-3000:] for log in logs)
        raise SystemExit(f"the hosts ended with {codes}:\n{told}")
    return digest(run)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="train on two network namespaces, kill one")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        return
    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="cpn-hosts-"))
    make_people(folder / "data")
    with two_hosts():
        expected = train(folder, "reference", [])
        steps = sorted(rng.sample(range(5, 31, 5), options.kills))
        mismatches = int(train(folder, "killed", steps) != expected)
    print(f"kills={options.kills} mismatches={mismatches}")
    raise SystemExit(mismatches)


if __name__ == "__main__":
    main()
