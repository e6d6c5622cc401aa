"""The evaluation that the trainer calls after an epoch."""

from dataclasses import dataclass
from typing import Self

from torch import nn

from cpn.config.schema import TrainConfig
from cpn.data.sample import PoseBatch, collate_samples
from cpn.engine.distributed import DistributedContext
from cpn.engine.precision import Precision
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.prediction.estimator import PoseEstimator
from cpn.process.interruption import STOP
from cpn.skeleton import Skeleton
from cpn.tasks.evaluation.pose_evaluation import EvaluationSet, evaluate_poses, evaluation_set


@dataclass
class EpochEvaluation:
    """Scores a network on the validation people; remembers the newest epoch.

    Attributes:
        people: the validation people.
        config: decoding.
        context: gathers over the ranks.
        precision: of the forward pass.
        epoch: of the newest evaluation.
    """

    people: EvaluationSet
    config: TrainConfig
    context: DistributedContext
    precision: Precision
    epoch: int | None = None

    @classmethod
    def from_config(
        cls, config: TrainConfig, context: DistributedContext, *, skeleton: Skeleton | None = None
    ) -> Self:
        """The validation split of a training config.

        Args:
            config: of the training.
            context: the ranks.
            skeleton: of the training split; None: do not compare.

        Raises:
            UserError: a file is missing or broken, or has other keypoints than `skeleton`.
        """
        people = evaluation_set(
            config,
            context,
            skeleton=skeleton,
            batch_size=min(64, config.engine.batch_size),
            workers=config.data.workers,
        )
        return cls(people, config, context, Precision(config.engine.precision, context.device))

    def estimator(self, module: nn.Module) -> PoseEstimator:
        """The way from crops to points with this network."""
        assert isinstance(module, CascadedPyramidNetwork)
        skeleton = self.people.scorer.people.skeleton
        return PoseEstimator.from_config(module, skeleton, self.config, precision=self.precision)

    def first_people(self, count: int) -> PoseBatch:
        """The same few people at every epoch, for pictures."""
        dataset = self.people.dataset
        return collate_samples([dataset[0, index] for index in range(min(count, len(dataset)))])

    def __call__(self, module: nn.Module, epoch: int) -> dict[str, float]:
        """`evaluate` of the trainer's task."""
        people = self.people
        evaluation = evaluate_poses(
            self.estimator(module),
            people.batches,
            people.scorer,
            self.context,
            stop_requested=STOP.is_made,
        )
        self.epoch = epoch
        return evaluation.metrics
