import time

import pytest
import torch

from cpn.engine.distributed import DistributedContext
from cpn.engine.meter import Meter


def _figures(meter: Meter) -> dict[str, float]:
    reading = meter.take()
    return reading.figures(reading.means.numpy())


def test_means_and_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 12.0, 16.0, 16.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    meter = Meter(DistributedContext())
    meter.add({"loss": torch.tensor(1.0), "x": torch.tensor(4.0)}, num_images=3)
    meter.add({"loss": torch.tensor(2.0), "x": torch.tensor(0.0)}, num_images=5)
    assert _figures(meter) == {"loss": 1.5, "x": 2.0, "images_per_second": 4.0}
    meter.add({"loss": torch.tensor(7.0)}, num_images=2)
    assert _figures(meter) == {"loss": 7.0, "images_per_second": 0.5}


def test_throughput_is_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 2.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(DistributedContext, "reduce_mean", lambda _, value: value)
    meter = Meter(DistributedContext(world_size=3))
    meter.add({"loss": torch.tensor(1.0)}, num_images=4)
    assert _figures(meter)["images_per_second"] == 6.0
