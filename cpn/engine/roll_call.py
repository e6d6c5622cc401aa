"""Who is missing, when a collective fails on the ranks that are left."""

import os
import time
from threading import Thread
from typing import Any

import torch

# Who is alive notices at about the same time that somebody is missing.
SECONDS = 2.0


def silent_peers(rank: int, world_size: int) -> list[int]:
    """The ranks that died or hang; empty if that cannot be said.

    The others say in the group's store that they are here. Rank 0 keeps the store: if it does not
    answer, rank 0 is the one.
    """
    peers = [peer for peer in range(world_size) if peer != rank]
    if len(peers) == 1:
        return peers
    try:
        store = torch.distributed.distributed_c10d._get_default_store()  # noqa: SLF001 - there is no public one
    except ValueError:  # the group was never complete
        return []
    answers: list[list[int]] = []
    # A store that hangs keeps who asks it, whatever the timeout.
    asking = Thread(target=_ask, args=(store, rank, peers, answers), daemon=True)
    asking.start()
    asking.join(SECONDS + 1)
    if answers:
        return answers[0]
    return [] if rank == 0 else [0]


def _ask(store: Any, rank: int, peers: list[int], answers: list[list[int]]) -> None:  # noqa: ANN401
    # Restarted ranks may have the same store.
    call = f"cpn/roll_call/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    end = time.monotonic() + SECONDS
    silent = peers
    try:
        store.set(f"{call}/{rank}", "here")
        while silent and time.monotonic() < end:
            silent = [peer for peer in silent if not store.check([f"{call}/{peer}"])]
            time.sleep(0.02)
    except RuntimeError:  # the store is gone with its rank
        return
    answers.append(silent)
