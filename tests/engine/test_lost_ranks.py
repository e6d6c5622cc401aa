"""Runs of several ranks, one of which hangs or dies: what the others say, and what is left."""

import re
import signal
from pathlib import Path

import pytest

from cpn.engine.distributed import DistributedContext, LostPeerError, distributed_context
from cpn.engine.failpoints import VARIABLE
from tests.engine.conftest import tiny_run
from tests.forked import exit_codes, forked_ranks

TIMEOUT = 2.0  # of the group


def _train(folder: Path) -> None:
    address = (folder / "rendezvous").as_uri()
    with distributed_context("cpu", timeout_seconds=TIMEOUT, init_method=address) as context:
        run = tiny_run(
            folder / "run",
            context=context,
            global_batch=2 * context.world_size,
            length=12 * context.world_size,
            save_every_steps=3,
        )
        try:
            run.trainer.fit()
        except LostPeerError as error:
            print(error, flush=True)  # noqa: T201 - the rank's log
            raise SystemExit(2) from None


def _meet(folder: Path) -> None:
    address = (folder / "rendezvous").as_uri()
    try:
        with distributed_context("cpu", timeout_seconds=1, init_method=address) as context:
            context.barrier()
    except LostPeerError as error:
        print(error, flush=True)  # noqa: T201 - the rank's log
        raise SystemExit(2) from None


def _lose(folder: Path, fault: str, *, world_size: int) -> list[int | None]:
    """How the ranks end; the lost one, if it hangs, by the deadline."""
    ranks = forked_ranks(_train, folder, world_size=world_size, environment={VARIABLE: fault})
    lost = ranks.pop(int(fault.split(":")[1]))
    codes = exit_codes(ranks, seconds=30)
    hangs = fault.endswith(":stop")
    assert exit_codes([lost], seconds=0 if hangs else 10) == [None if hangs else -signal.SIGKILL]
    return codes


@pytest.mark.parametrize(
    ("fault", "world_size", "step"),
    [
        ("before_step@5:1:stop", 2, 5),
        ("before_step@5:0:stop", 2, 5),
        ("before_step@5:1:stop", 3, 5),
        ("before_step@5:1", 3, 5),
        ("before_state@6:0:stop", 2, 7),
    ],
)
def test_a_rank_that_hangs_or_dies_is_named(
    tmp_path: Path, fault: str, world_size: int, step: int
) -> None:
    """F6: who is left ends in time, and what was saved is whole."""
    lost = int(fault.split(":")[1])
    assert _lose(tmp_path, fault, world_size=world_size) == [2] * (world_size - 1)
    for rank in set(range(world_size)) - {lost}:
        (line,) = (tmp_path / f"rank_{rank}.log").read_text().splitlines()
        # On a busy machine one that is only slow to answer may be named beside it.
        named = rf"ranks? (\d, )*{lost}(, \d)*"
        assert re.fullmatch(
            rf"rank {rank} lost {named} at step {step} \([^/]+\), whose output says why; .*", line
        )
    store = tiny_run(tmp_path / "run").trainer.store
    found = store.load_newest()
    assert found is not None
    assert found[0] == store.path(3)
    assert found[1]["progress"]["step"] == 3


@pytest.mark.parametrize(
    ("present", "told"),
    [
        (1, r"rank 0 lost rank 1 at the start \(.+"),
        (2, r"rank 0 lost another rank at the start \(.+"),
    ],
)
def test_a_rank_that_never_comes_is_named(tmp_path: Path, present: int, told: str) -> None:
    ranks = forked_ranks(_meet, tmp_path, world_size=present + 1)
    absent = ranks.pop()
    absent.kill()
    assert exit_codes(ranks) == [2] * present
    exit_codes([absent])
    assert re.fullmatch(told, (tmp_path / "rank_0.log").read_text().splitlines()[-1])


@pytest.mark.parametrize(
    "told",
    [
        "Application timeout caused pair closure",
        "Wait timeout",
        "Timed out waiting 3000ms for recv operation to complete",
        "Connection closed by peer [127.0.0.1]:56492",
        "Gloo connectFullMesh failed with gloo/transport/tcp/socket.cc",
    ],
)
def test_what_gloo_tells_of_a_lost_rank(told: str) -> None:
    """Which of them comes is chance, see above."""
    with (
        pytest.raises(LostPeerError, match="rank 0 lost rank 1 at step 1"),
        DistributedContext(0, 2).named_loss_of_peers(lambda: "step 1"),
    ):
        raise RuntimeError(told)


def test_another_error_is_not_taken_for_a_lost_rank() -> None:
    context = DistributedContext(0, 2)
    error = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError) as caught, context.named_loss_of_peers(lambda: "step 1"):
        raise error
    assert caught.value is error


def test_before_there_is_a_group_the_rank_has_no_number() -> None:
    with (
        pytest.raises(LostPeerError, match=r"rank 0 lost another rank at step 1 \(Connection clo"),
        DistributedContext(0, 3).named_loss_of_peers(lambda: "step 1"),
    ):
        raise RuntimeError(
            "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer "
            "[127.0.0.1]:56492. This is typically caused by a remote worker crashing."
        )
