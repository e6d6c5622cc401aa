"""Measures what a variant costs: `python -m cpn.tasks.ablation.cost ORDER`."""

from collections.abc import Callable, Iterable
from functools import partial

import torch

from cpn.build import build_model
from cpn.config.schema import TrainConfig
from cpn.data.sample import PoseBatch
from cpn.engine.distributed import DistributedContext
from cpn.engine.precision import Precision
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.models.folding import folded
from cpn.models.statistics import model_statistics
from cpn.skeleton import Skeleton
from cpn.tasks.ablation.orders import TimingOrder, obey
from cpn.tasks.ablation.timing import Timed, Use, measure
from cpn.tasks.data.datasets import read_split, training_batches
from cpn.tasks.data.mixed_people import with_mixed_people
from cpn.tasks.evaluation.epoch_evaluation import EpochEvaluation
from cpn.tasks.evaluation.estimation import estimated_batches
from cpn.tasks.training.criterion import build_criterion


def assemble(config: TrainConfig, context: DistributedContext) -> Timed:
    """Reads the people and builds the network; see `measure`."""
    people = read_split(config.data, config.data.train, for_training=True)
    mixed = with_mixed_people(people, config.data, tell=False)
    model = build_model(config, num_keypoints=people.skeleton.num_keypoints).to(context.device)
    return Timed(
        model=model,
        loader=training_batches(mixed.people, config, context, parts=mixed.parts),
        loss=build_criterion(config, model, people.skeleton, context.device, tell=False),
        use=partial(_use, config, context, model, people.skeleton),
    )


def _use(
    config: TrainConfig,
    context: DistributedContext,
    model: CascadedPyramidNetwork,
    skeleton: Skeleton,
) -> Use:
    evaluation = EpochEvaluation.from_config(config, context, skeleton=skeleton)
    people = evaluation.people

    def some(batches: Iterable[PoseBatch]) -> int:
        estimator = evaluation.estimator(model)
        return sum(len(poses) for poses in estimated_batches(estimator, batches))

    return Use(
        gflops=model_statistics(model, config.input.size_hw).gflops,
        once=_one_person(model, config),
        some=some,
        batches=people.batches,
        number=len(people.scorer.people.instances),
    )


@torch.inference_mode()
def _one_person(model: CascadedPyramidNetwork, config: TrainConfig) -> Callable[[], object]:
    """The network for one person, as it is used: with folded BatchNorm."""
    network = folded(model.eval(), config.input.size_hw)
    device = next(network.parameters()).device
    called = Precision(config.engine.precision, device).autocast_calls(network)
    crop = torch.zeros(1, 3, *config.input.size_hw, device=device)
    crop = crop.contiguous(memory_format=torch.channels_last)
    return lambda: called(crop)


if __name__ == "__main__":
    obey(TimingOrder[TrainConfig], partial(measure, assemble=assemble))
