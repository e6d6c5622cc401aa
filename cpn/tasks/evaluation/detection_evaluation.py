"""Scores a detector: photos over all ranks, boxes gathered, AP(H)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from torch import nn

from cpn.config.detection_schema import TrainDetectorConfig
from cpn.data.annotated_photos import AnnotatedPhotos
from cpn.data.photo_batches import WholePhotos, whole_photos
from cpn.data.worker_loader import WorkerLoader
from cpn.detection.detections import Detections
from cpn.detection.detector import Detector
from cpn.engine.distributed import DistributedContext
from cpn.engine.inference import evaluation_mode
from cpn.engine.precision import Precision
from cpn.errors import UserError
from cpn.evaluation import GroundTruth, evaluate_boxes, read_ground_truth
from cpn.geometry.boxes import xyxy_to_xywh
from cpn.prediction.person_detector import find_people
from cpn.process.interruption import STOP
from cpn.tasks.evaluation.estimation import stoppable_batches

Find = Callable[[Sequence[npt.NDArray[np.uint8]]], list[Detections]]


class DetectionEvaluation(NamedTuple):
    """The numbers of `evaluate_boxes`, on every rank, and on rank 0 the COCO detections."""

    metrics: dict[str, float]
    records: list[dict[str, Any]]


@dataclass(frozen=True)
class DetectionSet:
    """Photos to find people in, and who is there.

    Attributes:
        photos: all of them.
        batches: this rank's share.
        truth: the people of the whole annotation file.
    """

    photos: AnnotatedPhotos
    batches: WorkerLoader[WholePhotos]
    truth: GroundTruth

    @classmethod
    def create(
        cls, photos: AnnotatedPhotos, context: DistributedContext, *, batch_size: int, workers: int
    ) -> Self:
        """Reads the ground truth once, for any number of evaluations.

        Raises:
            UserError: a person has no area, or as `read_ground_truth`.
        """
        truth = read_ground_truth(photos.source, category_id=photos.category_id)
        batches = whole_photos(photos, batch_size=batch_size, context=context, num_workers=workers)
        return cls(photos, batches, truth)

    def evaluate(self, find: Find, context: DistributedContext) -> DetectionEvaluation:
        """Finds the people of every photo once over all ranks; rank 0 scores.

        Raises:
            EvaluationStopped: a rank is asked to stop; on all ranks.
            UserError: what was found cannot be scored; on all ranks.
        """
        gathered = context.all_gather_object(self._find(find, context))
        problem = next((each for _, each in gathered if each), None)
        metrics: dict[str, float] | None = None
        records = [record for part, _ in gathered for record in part] if context.is_main else []
        if context.is_main and problem is None:
            try:
                ids = self.photos.image_ids.tolist()
                metrics = evaluate_boxes(self.truth, records, image_ids=ids)
            except UserError as error:
                problem = str(error)
        metrics, problem = context.broadcast_object((metrics, problem))
        if metrics is None:
            raise UserError(problem or "rank 0 gave no evaluation")
        return DetectionEvaluation(metrics, records)

    def _find(
        self, find: Find, context: DistributedContext
    ) -> tuple[list[dict[str, Any]], str | None]:
        """This rank's detections, and what is wrong with one: the others must not wait for it."""
        own: list[dict[str, Any]] = []
        problem: str | None = None
        for batch in stoppable_batches(self.batches, context, STOP.is_made):
            for image_id, found in zip(batch.image_ids, find(batch.images), strict=True):
                try:
                    own += to_records(image_id, found, self.photos.category_id)
                except UserError as error:
                    problem = problem or str(error)
        return own, problem


def to_records(image_id: int, found: Detections, category_id: int) -> list[dict[str, Any]]:
    """The COCO detections of one photo.

    Raises:
        UserError: a box or score is not finite.
    """
    if not (np.isfinite(found.boxes_xyxy).all() and np.isfinite(found.scores).all()):
        raise UserError(
            f"image {image_id}: the detector gives boxes or scores that are not finite; it has "
            "diverged, use another checkpoint"
        )
    boxes = xyxy_to_xywh(found.boxes_xyxy).tolist()
    return [
        {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
        for box, score in zip(boxes, found.scores.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class EpochDetection:
    """The evaluation that the trainer calls after an epoch.

    Attributes:
        photos: of the validation split.
        context: gathers over the ranks.
        precision: of the forward pass.
    """

    photos: DetectionSet
    context: DistributedContext
    precision: Precision

    @classmethod
    def create(
        cls, photos: AnnotatedPhotos, config: TrainDetectorConfig, context: DistributedContext
    ) -> Self:
        """For the validation photos of a training."""
        engine = config.engine
        known = DetectionSet.create(
            photos, context, batch_size=min(16, engine.batch_size), workers=config.data.workers
        )
        return cls(known, context, Precision(engine.precision, context.device))

    def __call__(self, module: nn.Module, _epoch: int) -> dict[str, float]:
        """`evaluate` of the trainer's task."""
        assert isinstance(module, Detector)
        return self.detect(module).metrics

    def detect(self, module: Detector) -> DetectionEvaluation:
        """Finds the people of the photos and scores what was found; see `DetectionSet.evaluate`."""

        def find(images: Sequence[npt.NDArray[np.uint8]]) -> list[Detections]:
            return find_people(module, images, device=self.context.device, precision=self.precision)

        with evaluation_mode(module):
            return self.photos.evaluate(find, self.context)
