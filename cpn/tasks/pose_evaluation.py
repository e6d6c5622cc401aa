"""Evaluates a network on people: estimate, gather over ranks, rescore, suppress, OKS AP."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from cpn.config.schema import PostprocessConfig
from cpn.data.annotations import PersonAnnotations
from cpn.data.sample import PoseBatch
from cpn.engine.distributed import DistributedContext
from cpn.engine.inference import evaluation_mode
from cpn.errors import UserError
from cpn.estimator import PoseEstimator
from cpn.evaluation import (
    GroundTruth,
    PosePredictions,
    check_complete,
    evaluate_keypoints,
    read_ground_truth,
    to_coco_results,
)
from cpn.evaluation.pck import pck
from cpn.postprocess import rescore, suppress


@dataclass(frozen=True)
class PoseEvaluation:
    """The numbers, and the COCO results and predictions that they come from."""

    metrics: dict[str, float]
    results: list[dict[str, Any]]
    predictions: PosePredictions


@dataclass(frozen=True)
class PoseScorer:
    """Turns predictions into numbers.

    Attributes:
        truth: the whole annotation file.
        people: whom the predictions are of: all of its persons, some of them, or detections.
        detections: the file that the boxes came from; None: they are the ground truth.
        postprocess: rescoring and OKS-NMS.
        limited: only `people` are ground truth, as if no other were annotated.
    """

    truth: GroundTruth
    people: PersonAnnotations
    detections: Path | None
    postprocess: PostprocessConfig
    limited: bool

    @classmethod
    def create(
        cls,
        people: PersonAnnotations,
        postprocess: PostprocessConfig,
        *,
        detections: str | None,
        annotations: Path,
        limited: bool,
    ) -> Self:
        """Reads the ground truth once, for any number of evaluations."""
        boxes = None if detections is None else Path(detections)
        return cls(read_ground_truth(annotations), people, boxes, postprocess, limited)

    def score(self, predictions: PosePredictions) -> PoseEvaluation:
        """The ten COCO numbers; with ground-truth boxes PCK@0.2 of the torso too."""
        predictions.check_finite()
        results = self._results(predictions)
        metrics = self._average_precision(results, None)
        if self.detections is None:
            metrics["PCK"] = self._pck(predictions, np.arange(len(predictions)))
        return PoseEvaluation(metrics, results, predictions)

    def score_images(
        self, evaluation: PoseEvaluation, image_ids: Iterable[int]
    ) -> dict[str, float]:
        """The same numbers over some images only."""
        chosen = set(image_ids)
        metrics = self._average_precision(evaluation.results, chosen)
        if self.detections is None:
            rows = np.flatnonzero(np.isin(evaluation.predictions.image_ids, list(chosen)))
            metrics["PCK"] = self._pck(evaluation.predictions, rows)
        return metrics

    def describe(self) -> str:
        """What the numbers are of: how many people, from where, by which boxes."""
        boxes = self.detections or "ground truth"
        where = f"{len(self.people.instances)} people of {self.truth.source}"
        return f"{where}; boxes: {boxes}; score: {self.postprocess.score}"

    def _results(self, predictions: PosePredictions) -> list[dict[str, Any]]:
        rule = self.postprocess
        scores = rescore(predictions, mode=rule.score, keypoint_threshold=rule.keypoint_threshold)
        kept, kept_scores = suppress(
            predictions,
            scores,
            method=rule.nms,
            threshold=rule.nms_threshold,
            sigmas=self.people.skeleton.sigmas,
        )
        return to_coco_results(kept, kept_scores, category_id=self.people.category_id)

    def _average_precision(
        self, results: list[dict[str, Any]], image_ids: set[int] | None
    ) -> dict[str, float]:
        ids = self.people.instances.annotation_ids.tolist() if self.limited else None
        return evaluate_keypoints(
            self.truth,
            results,
            sigmas=self.people.skeleton.sigmas,
            image_ids=image_ids,
            annotation_ids=ids,
        )

    def _pck(self, predictions: PosePredictions, rows: np.ndarray[Any, Any]) -> float:
        instances = self.people.instances
        order = np.argsort(instances.annotation_ids)
        found = order[np.searchsorted(instances.annotation_ids[order], predictions.instance_ids)]
        try:
            measured = pck(
                predictions.keypoints[rows],
                instances.keypoints[found[rows]],
                skeleton=self.people.skeleton,
            )
        except UserError:  # a skeleton without shoulders and hips has no torso to measure by
            return float("nan")
        return measured.value


def evaluate_poses(
    estimator: PoseEstimator,
    batches: Iterable[PoseBatch],
    scorer: PoseScorer,
    context: DistributedContext,
) -> PoseEvaluation:
    """Estimates every instance once over all ranks; rank 0 scores, all ranks get the result."""
    parts = context.all_gather_object(estimate_instances(estimator, batches))
    evaluation: PoseEvaluation | None = None
    problem: str | None = None
    if context.is_main:
        try:
            predictions = PosePredictions.concatenate(parts)
            expected = scorer.people.instances.annotation_ids.tolist()
            check_complete(predictions.instance_ids.tolist(), expected)
            evaluation = scorer.score(predictions)
        except UserError as error:
            problem = str(error)
    evaluation, problem = context.broadcast_object((evaluation, problem))
    if evaluation is None:
        raise UserError(problem or "rank 0 gave no evaluation")
    return evaluation


def estimate_instances(estimator: PoseEstimator, batches: Iterable[PoseBatch]) -> PosePredictions:
    """This rank's instances, in the order of the loader."""

    def estimate(batch: PoseBatch) -> PosePredictions:
        poses = estimator(batch.crops, batch.image_to_crop)
        return PosePredictions(
            image_ids=batch.image_ids.cpu().numpy(),
            instance_ids=batch.instance_ids.cpu().numpy(),
            keypoints=poses.points_image,
            keypoint_scores=poses.scores,
            box_scores=batch.box_scores.cpu().numpy(),
            areas=batch.box_areas.cpu().numpy(),
        )

    device = estimator.model.pixel_mean.device
    k = estimator.skeleton.num_keypoints
    nobody = PosePredictions(
        *(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, k, 2)), np.zeros((0, k))),
        *(np.zeros(0), np.zeros(0)),
    )
    with evaluation_mode(estimator.model):
        parts = [estimate(batch.to(device, non_blocking=True)) for batch in batches]
    return PosePredictions.concatenate([nobody, *parts])


def images_by_field(annotations: Mapping[str, Any], field: str) -> dict[str, list[int]]:
    """Image ids by the value of an image field of the COCO file, e.g. `source`.

    Raises:
        UserError: no image has the field.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for image in annotations["images"]:
        groups[str(image.get(field))].append(int(image["id"]))
    if set(groups) <= {"None"}:
        known = sorted(annotations["images"][0]) if annotations["images"] else []
        raise UserError(f"group_by={field}: the images have no such field; they have {known}")
    return dict(sorted(groups.items()))


def read_image_groups(annotations: bytes, field: str) -> dict[str, list[int]]:
    """`images_by_field` of a file's content."""
    return images_by_field(msgspec.json.decode(annotations), field)
