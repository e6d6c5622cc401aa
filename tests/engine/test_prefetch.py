"""Copying ahead: what is asked of the GPU, and in which order."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
import torch

from cpn.engine.prefetch import on_device

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Told:
    """A batch that writes down where it goes."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.diary = diary

    num_samples = 1

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        assert non_blocking == (device.type == "cuda")
        self.diary.append(f"copy {self.name}")
        return self


def _batches(diary: list[str], count: int = 3) -> Iterator[Told]:
    for number in range(count):
        diary.append(f"load {number}")
        yield Told(str(number), diary)


def test_a_cpu_asks_for_no_batch_ahead() -> None:
    diary: list[str] = []
    _step_through(on_device(_batches(diary, 2), CPU), diary)
    loads = [entry for entry in diary if not entry.startswith("copy")]
    assert loads == ["load 0", "step 0", "load 1", "step 1"]


def test_a_gpu_copies_the_next_batch_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    diary: list[str] = []
    _fake_cuda(monkeypatch, diary)
    _step_through(on_device(_batches(diary), GPU), diary)
    first, *steps = " ".join(diary).split(" step ")
    # The copy into memory that step k - 1 used waits for that step; step k for its own copy alone.
    assert first.split("  ") == [
        "load 0 copies wait for main copy 0 event 0"
        " load 1 copies wait for main copy 1 event 1 main waits for event 0"
    ]
    assert steps == [
        "0 load 2 copies wait for main copy 2 event 2 main waits for event 1",
        "1 main waits for event 2",
        "2",
    ]


def test_no_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_cuda(monkeypatch, [])
    assert list(on_device(_batches([], 0), GPU)) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_what_is_copied_arrives() -> None:
    tensors = [torch.full((1 << 20,), number).pin_memory() for number in range(6)]
    device = torch.device("cuda", 0)
    sums = [batch.double().sum() for batch in on_device(tensors, device)]  # type: ignore[type-var]
    assert [float(each) / (1 << 20) for each in sums] == list(range(6))


def _step_through(batches: Iterator[Told], diary: list[str]) -> None:
    diary.extend(f"step {batch.name}" for batch in batches)


def _fake_cuda(monkeypatch: pytest.MonkeyPatch, diary: list[str]) -> None:
    """Streams that write down what is asked of them."""

    class Stream:
        def __init__(self, name: Any) -> None:
            self.name = "copies" if name == GPU else name
            self.events = 0

        def wait_stream(self, other: "Stream") -> None:
            diary.append(f"{self.name} wait for {other.name}")

        def wait_event(self, event: str) -> None:
            diary.append(f"{self.name} waits for {event}")

        def record_event(self) -> str:
            diary.append(f"event {self.events}")
            self.events += 1
            return diary[-1]

    @contextmanager
    def inside(_stream: Stream) -> Iterator[None]:
        yield

    main = Stream("main")
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: main)
