"""Stores of three ranks; test_lost_ranks.py has real ones."""

from collections.abc import Callable
from threading import Event

import pytest
import torch

from cpn.engine import roll_call
from cpn.engine.roll_call import silent_peers

GONE = torch.distributed.DistNetworkError("the server is gone")


class Store:
    """Who is here, or what happens to who asks."""

    def __init__(self, here: set[str], ask: Callable[[], None] = lambda: None) -> None:
        self.here = here
        self._ask = ask

    def set(self, key: str, _value: str) -> None:
        self.here.add(key)

    def check(self, keys: list[str]) -> bool:
        self._ask()
        return set(keys) <= self.here


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_call, "SECONDS", 0.1)


def _with_store(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(torch.distributed.distributed_c10d, "_get_default_store", lambda: store)


def test_who_does_not_answer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store({"cpn/roll_call/0/0"})
    _with_store(monkeypatch, store)
    assert silent_peers(1, 3) == [2]
    assert store.here == {"cpn/roll_call/0/0", "cpn/roll_call/0/1"}


def test_a_restarted_group_has_a_call_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    _with_store(monkeypatch, Store({"cpn/roll_call/0/0", "cpn/roll_call/1/2"}))
    assert silent_peers(1, 3) == [0]


def test_of_two_it_is_the_other_one() -> None:
    assert silent_peers(1, 2) == [0]


def test_without_a_group_nobody_can_be_named() -> None:
    assert silent_peers(1, 3) == []


@pytest.mark.parametrize(("rank", "silent"), [(0, []), (1, [0])])
def test_a_store_that_hangs_is_rank_0_s(
    monkeypatch: pytest.MonkeyPatch, rank: int, silent: list[int]
) -> None:
    end = Event()
    _with_store(monkeypatch, Store(set(), lambda: (end.wait(20), None)[1]))
    assert silent_peers(rank, 3) == silent
    end.set()


@pytest.mark.parametrize(("rank", "silent"), [(0, []), (1, [0])])
def test_a_store_that_is_gone_was_rank_0_s(
    monkeypatch: pytest.MonkeyPatch, rank: int, silent: list[int]
) -> None:
    def gone() -> None:
        raise GONE

    _with_store(monkeypatch, Store(set(), gone))
    assert silent_peers(rank, 3) == silent
