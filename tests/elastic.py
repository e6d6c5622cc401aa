"""Kills one rank of a run under torchrun and lets torchrun restart it, several times over.

    python tests/elastic.py [--restarts 5] [--seed 0]

Each run must end by itself, after one restart, with what a run comes to that nobody disturbs. The
last line is `restarts=5 mismatches=0`; the exit code is 1 if there was a mismatch.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.whole_runs import digest, make_people, run_overrides, torchrun

OPTIONS = ("--standalone", "--nproc-per-node=2", "--max-restarts=3")
STEPS = 36
TIMEOUT_SECONDS = 120.0


def run(folder: Path, name: str, fault: str) -> tuple[str, float]:
    """What the run came to, and after how many seconds."""
    began, log = time.monotonic(), folder / f"{name}.log"
    overrides = run_overrides(folder, name)
    process = torchrun(OPTIONS, overrides, log=log, environment={"CPN_FAULT": fault})
    code = process.wait(TIMEOUT_SECONDS)
    if code:
        raise SystemExit(f"torchrun ended with {code}, see {log}:\n{log.read_text()[-4000:]}")
    return digest(folder / "runs" / name), time.monotonic() - began


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="kill ranks under torchrun --max-restarts")
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="cpn-elastic-"))
    make_people(folder / "data")
    expected, _ = run(folder, "reference", "")
    restarts = mismatches = 0
    for number in range(options.restarts):
        step, rank = rng.randint(2, STEPS), rng.randint(0, 1)
        found, seconds = run(folder, f"killed_{number}", f"before_step@{step}:{rank}")
        text = (folder / f"killed_{number}.log").read_text()
        restarts += text.count("precision fp32") - 1  # each start says it once
        mismatches += found != expected
        verdict = "same" if found == expected else "DIFFERENT"
        print(f"rank {rank} killed at step {step}: {verdict}, {seconds:.0f} s", flush=True)
    print(f"restarts={restarts} mismatches={mismatches}")
    raise SystemExit(mismatches > 0 or restarts != options.restarts)


if __name__ == "__main__":
    main()
