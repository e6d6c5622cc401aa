"""Stands in for timing: `python -m tests.tasks.ablation.fake_timer ORDER`; a batch of 9 fails."""

from pathlib import Path

from cpn.ablation.budget import Pace
from cpn.ablation.costs import VariantCost
from cpn.ablation.outcome import Cost
from cpn.config.schema import TrainConfig
from cpn.errors import UserError
from cpn.tasks.ablation.orders import TimingOrder, obey


def measure(order: TimingOrder[TrainConfig]) -> None:
    if order.config.engine.batch_size == 9:
        raise UserError("data.train.images: there is no folder")
    cost = Cost(1_000_000, 0.5, 100.0, 5.0, 900.0)
    pace = Pace(seconds_per_step=1.0, steps_per_epoch=60, seconds_per_evaluation=6.0)
    VariantCost(cost, pace, "CPU, 1 thread").save(Path(order.out))


if __name__ == "__main__":
    obey(TimingOrder[TrainConfig], measure)
