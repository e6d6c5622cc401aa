"""From batches of crops to predictions."""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import torch

from cpn.data.sample import PoseBatch
from cpn.data.worker_loader import WorkerLoader
from cpn.engine.distributed import DistributedContext
from cpn.engine.inference import evaluation_mode
from cpn.evaluation import PosePredictions
from cpn.prediction.estimator import PoseEstimator
from cpn.process.interruption import EvaluationStopped

T = TypeVar("T")


def stoppable_batches(
    batches: Collection[T] | WorkerLoader[T],
    context: DistributedContext,
    stop_requested: Callable[[], bool],
) -> Iterator[T]:
    """The batches, until any rank is asked to stop; ranks with fewer vote along to the end.

    Raises:
        EvaluationStopped: after the same number of batches on all ranks.
    """
    for batch, _ in zip_longest(batches, range(max(context.all_gather_object(len(batches))))):
        if bool(context.any(torch.tensor([stop_requested()]))):
            raise EvaluationStopped
        if batch is not None:
            yield batch


def estimate_instances(estimator: PoseEstimator, batches: Iterable[PoseBatch]) -> PosePredictions:
    """This rank's instances, in the order of the loader."""
    return PosePredictions.concatenate([nobody(estimator), *estimated_batches(estimator, batches)])


def estimated_batches(
    estimator: PoseEstimator, batches: Iterable[PoseBatch]
) -> Iterator[PosePredictions]:
    """Batch by batch; the network is in evaluation mode while this is gone through."""
    device = estimator.model.pixel_mean.device
    with evaluation_mode(estimator.model):
        for given in batches:
            batch = given.to(device, non_blocking=True)
            poses = estimator(batch.crops, batch.image_to_crop)
            yield PosePredictions(
                image_ids=batch.image_ids.cpu().numpy(),
                instance_ids=batch.instance_ids.cpu().numpy(),
                keypoints=poses.points_image,
                keypoint_scores=poses.rescoring_scores,
                box_scores=batch.box_scores.cpu().numpy(),
                areas=batch.box_areas.cpu().numpy(),
            )


def nobody(estimator: PoseEstimator) -> PosePredictions:
    """No predictions, of the right shapes."""
    k = estimator.skeleton.num_keypoints
    return PosePredictions(
        *(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, k, 2)), np.zeros((0, k))),
        *(np.zeros(0), np.zeros(0)),
    )
