"""Evaluates a network on people: estimate, gather over ranks, rescore, suppress, OKS AP.

`evaluation_set` and `evaluate_poses` serve the trainer's epochs and `cpn.tasks.evaluate` alike.
"""

import codecs
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np

from cpn.config.schema import PostprocessConfig, TrainConfig
from cpn.data.annotations import PersonAnnotations
from cpn.data.loaders import PoseLoader
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError
from cpn.evaluation import (
    GroundTruth,
    PosePredictions,
    check_complete,
    evaluate_boxes,
    evaluate_keypoints,
    read_ground_truth,
    to_coco_results,
)
from cpn.evaluation.calibration import Rescaling
from cpn.evaluation.coco_api import Engine
from cpn.evaluation.conventions import (
    average_precision_by_crowding,
    head_lengths,
    pck_metrics,
)
from cpn.postprocess import keep_scored, rescore, suppress
from cpn.prediction.estimator import PoseEstimator
from cpn.skeleton import Skeleton
from cpn.tasks.data.datasets import evaluation_batches, evaluation_dataset, read_split, with_boxes
from cpn.tasks.evaluation.estimation import (
    estimate_instances,
    estimated_batches,
    nobody,
    stoppable_batches,
)
from cpn.tasks.evaluation.prediction_parts import PredictionParts


@dataclass(frozen=True)
class PoseEvaluation:
    """The numbers, and the COCO results and predictions that they come from."""

    metrics: dict[str, float]
    results: list[dict[str, Any]]
    predictions: PosePredictions


class RankEvaluation(NamedTuple):
    """What a rank learns of an evaluation: all of them the metrics, rank 0 all of it."""

    metrics: dict[str, float]
    on_main: PoseEvaluation | None


@dataclass(frozen=True)
class PoseScorer:
    """Turns predictions into numbers.

    Attributes:
        truth: the whole annotation file.
        people: whom the predictions are of: all of its persons, some of them, or detections.
        detections: the file that the boxes came from; None: they are the ground truth.
        postprocess: rescoring and OKS-NMS.
        limited: only `people` are ground truth, as if no other were annotated.
        engine: who computes AP.
        rescaling: applied to the scores of the results, which changes no AP; None: they stay.
    """

    truth: GroundTruth
    people: PersonAnnotations
    detections: Path | None
    postprocess: PostprocessConfig
    limited: bool
    engine: Engine = "pycocotools"
    rescaling: Rescaling | None = None

    @classmethod
    def create(
        cls,
        people: PersonAnnotations,
        postprocess: PostprocessConfig,
        *,
        detections: str | None,
        annotations: Path,
        limited: bool,
        engine: Engine = "pycocotools",
    ) -> Self:
        """Reads the ground truth once, for any number of evaluations."""
        boxes = None if detections is None else Path(detections)
        truth = read_ground_truth(annotations, category_id=people.category_id)
        return cls(truth, people, boxes, postprocess, limited, engine)

    @property
    def box_source(self) -> str:
        """Where the person boxes come from: "ground truth" or the detections file."""
        return "ground truth" if self.detections is None else str(self.detections)

    def score(self, predictions: PosePredictions) -> PoseEvaluation:
        """The ten COCO numbers, and those of `cpn.evaluation.conventions` that fit the data.

        PCK is for ground-truth boxes: others are not of one person each.
        """
        predictions.check_finite()
        results = self._results(predictions)
        metrics = self._average_precision(results, None)
        metrics |= average_precision_by_crowding(
            self.evaluated_truth(), lambda ids: self._average_precision(results, set(ids))["AP"]
        )
        if self.detections is None:
            metrics |= self._pck(predictions, np.arange(len(predictions)))
        return PoseEvaluation(metrics, results, predictions)

    def score_images(
        self, evaluation: PoseEvaluation, image_ids: Iterable[int]
    ) -> dict[str, float]:
        """The same numbers over some images only."""
        chosen = set(image_ids)
        metrics = self._average_precision(evaluation.results, chosen)
        if self.detections is None:
            rows = np.flatnonzero(np.isin(evaluation.predictions.image_ids, list(chosen)))
            metrics |= self._pck(evaluation.predictions, rows)
        return metrics

    def describe(self) -> str:
        """What the numbers are of: how many people, from where, by which boxes."""
        where = f"{len(self.people.instances)} people of {self.truth.source}"
        return f"{where}; boxes: {self.box_source}; score: {self.postprocess.score}"

    def evaluated_truth(self) -> GroundTruth:
        """The ground truth that the predictions are scored against."""
        return self.truth.restrict(annotation_ids=self._evaluated_ids())

    def box_metrics(self) -> dict[str, float]:
        """AP(H), AP50(H) and AR(H) of the person boxes that are cropped.

        AR(H) is COCO's AR at 100 boxes per photo: no pose can be found where no box is.
        """
        instances = self.people.instances
        boxes = zip(
            instances.image_ids.tolist(),
            instances.boxes_xywh.tolist(),
            instances.box_scores.tolist(),
            strict=True,
        )
        category_id = self.people.category_id
        records = [
            {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
            for image_id, box, score in boxes
        ]
        found = evaluate_boxes(self.truth, records)
        return {"AP(H)": found["AP"], "AP50(H)": found["AP50"], "AR(H)": found["AR100"]}

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
        kept, kept_scores = keep_scored(kept, kept_scores)
        if self.rescaling is not None:
            kept_scores = self.rescaling(kept_scores)
        return to_coco_results(kept, kept_scores, category_id=self.people.category_id)

    def _average_precision(
        self, results: list[dict[str, Any]], image_ids: set[int] | None
    ) -> dict[str, float]:
        return evaluate_keypoints(
            self.truth,
            results,
            sigmas=self.people.skeleton.sigmas,
            image_ids=image_ids,
            annotation_ids=self._evaluated_ids(),
            engine=self.engine,
        )

    def _evaluated_ids(self) -> list[int] | None:
        return self.people.instances.annotation_ids.tolist() if self.limited else None

    def _pck(self, predictions: PosePredictions, rows: np.ndarray[Any, Any]) -> dict[str, float]:
        """See `pck_metrics`."""
        instances = self.people.instances
        order = np.argsort(instances.annotation_ids)
        found = order[np.searchsorted(instances.annotation_ids[order], predictions.instance_ids)]
        return pck_metrics(
            predictions.keypoints[rows],
            instances.keypoints[found[rows]],
            self.people.skeleton,
            head_lengths(self.truth, predictions.instance_ids[rows]),
        )


@dataclass(frozen=True)
class EvaluationSet:
    """People to evaluate on.

    Attributes:
        dataset: the people to crop.
        batches: this rank's share of the people.
        scorer: predictions -> metrics.
    """

    dataset: PoseDataset
    batches: PoseLoader
    scorer: PoseScorer


def evaluation_set(
    config: TrainConfig,
    context: DistributedContext,
    *,
    skeleton: Skeleton | None,
    batch_size: int,
    workers: int,
) -> EvaluationSet:
    """The validation people of a config, by the boxes that it names.

    Args:
        config: its `data.val`, `boxes`, `detections`, `input` and `postprocess` are used.
        context: splits the people over the ranks.
        skeleton: of the model; None: do not compare.
        batch_size: people per batch and rank.
        workers: loader processes.

    Raises:
        UserError: a file is missing or broken, or has other keypoints than the model.
    """
    split = config.data.val
    known = read_split(config.data, split, for_training=False, skeleton=skeleton)
    people = with_boxes(known, config)
    scorer = PoseScorer.create(
        people,
        config.postprocess,
        detections=config.detections.file,
        annotations=known.path,
        limited=split.limit is not None,
        engine=config.evaluation.engine,
    )
    dataset = evaluation_dataset(people, config.input)
    batches = evaluation_batches(dataset, context, batch_size=batch_size, workers=workers)
    return EvaluationSet(dataset, batches, scorer)


def evaluate_poses(
    estimator: PoseEstimator,
    batches: Collection[PoseBatch] | PoseLoader,
    scorer: PoseScorer,
    context: DistributedContext,
    *,
    stop_requested: Callable[[], bool] = bool,
    parts: PredictionParts | None = None,
) -> RankEvaluation:
    """Estimates every instance once over all ranks; rank 0 scores, all ranks get the metrics.

    With `parts` predictions go through these, and `batches` need only have who is in none of them.

    Raises:
        EvaluationStopped: `stop_requested` on some rank; on all ranks.
        UserError: the predictions cannot be scored.
    """
    stoppable = stoppable_batches(batches, context, stop_requested)
    if parts is None:
        estimated = context.all_gather_object(estimate_instances(estimator, stoppable))
    else:
        parts.write(estimated_batches(estimator, stoppable))
        context.barrier()
        estimated = [nobody(estimator), *(parts.read() if context.is_main else [])]
    evaluation: PoseEvaluation | None = None
    problem: str | None = None
    if context.is_main:
        try:
            predictions = PosePredictions.concatenate(estimated)
            expected = scorer.people.instances.annotation_ids.tolist()
            check_complete(predictions.instance_ids.tolist(), expected)
            evaluation = scorer.score(predictions)
        except UserError as error:
            problem = str(error)
    own = None if evaluation is None else evaluation.metrics
    metrics, problem = context.broadcast_object((own, problem))
    if metrics is None:
        raise UserError(problem or "rank 0 gave no evaluation")
    return RankEvaluation(metrics, evaluation)


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
    return images_by_field(msgspec.json.decode(annotations.removeprefix(codecs.BOM_UTF8)), field)
