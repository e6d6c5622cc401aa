"""Kills real training runs at random moments, resumes them, and compares with runs left alone.

    python tests/chaos.py [--kills 50] [--seed 0] [--folder DIR]

Every world (ranks, loader workers, threads) is trained once without a kill. Then runs of the same
config are killed (SIGKILL; one rank or all, at a random time) and started again until they are
done, until there were enough kills. Each must end with the same weights, average, optimizer, log
and best model, bit for bit, and must have had a whole training state whenever it was killed.

The last line is `kills=50 mismatches=0`; the exit code is 1 if there was a mismatch.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402 - the server imports once and forks
import torch  # noqa: E402

from cpn.config.schema import TrainConfig  # noqa: E402
from cpn.engine.state_store import StateStore  # noqa: E402
from cpn.process.program import configure_logging  # noqa: E402
from cpn.tasks.train import train  # noqa: E402
from tests.whole_runs import digest, make_people, run_config  # noqa: E402

TIMEOUT_SECONDS = 120.0
FORK = get_context("fork")


class World(NamedTuple):
    """Where a run is trained: none of it may change the result of a resumption."""

    ranks: int
    workers: int
    threads: int


WORLDS = (World(1, 0, 1), World(1, 2, 2), World(2, 0, 1), World(2, 2, 1))


@dataclass
class Outcome:
    """What a killed run came to."""

    kills: int
    digest: str


def start(config: TrainConfig, world: World, log: Path) -> list[Any]:
    """Forks the ranks of one run; they meet through a file."""
    rendezvous = Path(tempfile.mkdtemp(prefix="cpn-chaos-")) / "rendezvous"
    ranks = [
        FORK.Process(target=_rank, args=(config, world, rank, rendezvous, log))
        for rank in range(world.ranks)
    ]
    for process in ranks:
        process.start()
    return ranks


def _rank(config: TrainConfig, world: World, rank: int, rendezvous: Path, log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.setsid()
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world.ranks))
    torch.set_num_threads(world.threads)
    configure_logging()
    join = torch.distributed.init_process_group

    def join_by_file(backend: str, **options: Any) -> None:
        join(backend, **{**options, "init_method": rendezvous.as_uri()})

    torch.distributed.init_process_group = join_by_file  # type: ignore[assignment]
    train(config)


def wait_for(processes: Sequence[Any], seconds: float) -> None:
    """Until all have ended, or that long."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))


def kill(processes: Sequence[Any]) -> None:
    """SIGKILL; loader workers follow their parent."""
    for process in processes:
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()


def run_killed(
    config: TrainConfig, world: World, rng: random.Random, *, expected: float, log: Path
) -> Outcome:
    """One run, killed some times and then left to end."""
    kills, planned = 0, rng.randint(2, 5)
    while True:
        processes = start(config, world, log)
        if kills < planned:
            wait_for(processes, rng.uniform(0.0, expected))
            if any(process.is_alive() for process in processes):
                kill(rng.choice([processes, processes[:1], processes[-1:]]))
                kills += 1
                kill(processes)
                _require_whole_state(config)
                continue
        return Outcome(kills, _digest_at_end(config, processes, log))


def _digest_at_end(config: TrainConfig, processes: Sequence[Any], log: Path) -> str:
    """What the run left, once it has ended well."""
    wait_for(processes, TIMEOUT_SECONDS)
    codes = [process.exitcode for process in processes]
    kill(processes)
    if any(code != 0 for code in codes):
        raise SystemExit(f"a run ended with {codes}, see {log}:\n{log.read_text()[-4000:]}")
    return digest(Path(config.run.root) / config.run.name)


def _require_whole_state(config: TrainConfig) -> None:
    """Whatever was under way: what the manifest lists can be read, the newest above all."""
    folder = Path(config.run.root) / config.run.name / "checkpoints"
    for entry in StateStore(folder).states():
        StateStore(folder).load(entry)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cpn-chaos-"))
    rng = random.Random(options.seed)
    # A fork does not take the threads of OpenMP along, and waits for them at its first product.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    make_people(folder / "data")
    references: dict[World, tuple[str, float]] = {}
    kills = mismatches = runs = 0
    began = time.monotonic()
    for number, world in enumerate(cycle(WORLDS)):
        if kills >= options.kills:
            break
        log = folder / f"run_{number}.log"
        if world not in references:
            config = run_config(folder, f"reference_{number}", workers=world.workers)
            before = time.monotonic()
            processes = start(config, world, log)
            ended = _digest_at_end(config, processes, log)
            references[world] = (ended, time.monotonic() - before)
        expected, seconds = references[world]
        config = run_config(folder, f"killed_{number}", workers=world.workers)
        outcome = run_killed(config, world, rng, expected=seconds, log=log)
        same = outcome.digest == expected
        runs, kills, mismatches = runs + 1, kills + outcome.kills, mismatches + (not same)
        print(f"{world}: {outcome.kills} kills, {'same' if same else 'DIFFERENT'}", flush=True)
    if options.folder is None and not mismatches:
        shutil.rmtree(folder)
    print(f"{runs} runs in {time.monotonic() - began:.0f} s")
    print(f"kills={kills} mismatches={mismatches}")
    raise SystemExit(mismatches > 0)


if __name__ == "__main__":
    main()
