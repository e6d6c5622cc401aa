"""The evaluation that the trainer calls after an epoch."""

from dataclasses import dataclass
from typing import Self

from torch import nn

from cpn.config.schema import TrainConfig
from cpn.data.loaders import PoseLoader
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch, collate_samples
from cpn.engine.distributed import DistributedContext
from cpn.engine.precision import Precision
from cpn.estimator import PoseEstimator
from cpn.models.cpn import CascadedPyramidNetwork
from cpn.tasks.datasets import evaluation_batches, evaluation_dataset, read_split, with_boxes
from cpn.tasks.pose_evaluation import PoseScorer, evaluate_poses


@dataclass
class EpochEvaluation:
    """Scores a network on the validation people; remembers the newest epoch.

    Attributes:
        dataset: the people to crop.
        batches: this rank's share of the people.
        scorer: predictions -> metrics.
        config: decoding and precision.
        context: gathers over the ranks.
        epoch: of the newest evaluation.
    """

    dataset: PoseDataset
    batches: PoseLoader
    scorer: PoseScorer
    config: TrainConfig
    context: DistributedContext
    epoch: int | None = None

    @classmethod
    def from_config(cls, config: TrainConfig, context: DistributedContext) -> Self:
        """The validation split of a training config."""
        split = config.data.val
        known = read_split(config.data, split, for_training=False)
        people = with_boxes(known, config, images=split.images, limit=split.limit)
        scorer = PoseScorer.create(
            people,
            config.postprocess,
            detections=config.detections.file,
            annotations=known.path,
            limited=split.limit is not None and config.detections.file is None,
        )
        dataset = evaluation_dataset(people, config.input)
        batches = evaluation_batches(
            dataset,
            context,
            batch_size=min(64, config.engine.batch_size),
            workers=config.data.workers,
        )
        return cls(dataset, batches, scorer, config, context)

    def estimator(self, module: nn.Module) -> PoseEstimator:
        """The way from crops to points with this network."""
        assert isinstance(module, CascadedPyramidNetwork)
        precision = Precision(self.config.engine.precision, self.context.device)
        skeleton = self.scorer.people.skeleton
        return PoseEstimator.from_config(module, skeleton, self.config, precision=precision)

    def first_people(self, count: int) -> PoseBatch:
        """The same few people at every epoch, for pictures."""
        shown = range(min(count, len(self.dataset)))
        return collate_samples([self.dataset[0, index] for index in shown])

    def __call__(self, module: nn.Module, epoch: int) -> dict[str, float]:
        """`evaluate` of the trainer's task."""
        evaluation = evaluate_poses(self.estimator(module), self.batches, self.scorer, self.context)
        self.epoch = epoch
        return evaluation.metrics
