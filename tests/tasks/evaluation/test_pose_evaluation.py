"""Scoring of people: what both the trainer and the evaluation script stand on."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from cpn.build import build_model
from cpn.config.schema import PostprocessConfig, TrainConfig
from cpn.data.annotations import PersonAnnotations, read_person_annotations
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError
from cpn.evaluation import PosePredictions
from cpn.skeleton import COCO_17
from cpn.tasks.evaluation.epoch_evaluation import EpochEvaluation
from cpn.tasks.evaluation.pose_evaluation import PoseScorer, evaluate_poses

MakeConfig = Callable[..., TrainConfig]
T = TypeVar("T")
RULE = PostprocessConfig(
    score="box_keypoint", keypoint_threshold=0.2, nms="none", nms_threshold=0.9
)


@dataclass(frozen=True)
class PretendedRank(DistributedContext):
    """One of two ranks, the other of which has nobody; `sent` is what rank 0 broadcasts."""

    sent: list[Any] = field(default_factory=list)

    def all_gather_object(self, value: T) -> list[T]:
        return [value]

    def broadcast_object(self, value: T) -> T:
        if self.is_main:
            self.sent.append(value)
        received: T = self.sent[0]
        return received


def perfect(people: PersonAnnotations) -> PosePredictions:
    instances = people.instances
    count, k = instances.keypoints.shape[:2]
    return PosePredictions(
        instances.image_ids,
        instances.annotation_ids,
        instances.keypoints[..., :2],
        np.ones((count, k)),
        np.ones(count),
        instances.areas,
    )


def read(tiny_coco: Any) -> PersonAnnotations:
    return read_person_annotations(tiny_coco.annotations, tiny_coco.images, for_training=False)


def scorer_of(people: PersonAnnotations) -> PoseScorer:
    return PoseScorer.create(people, RULE, detections=None, annotations=people.path, limited=False)


def test_perfect_predictions(tiny_coco: Any) -> None:
    people = read(tiny_coco)
    metrics = scorer_of(people).score(perfect(people)).metrics
    assert metrics["AP"] == pytest.approx(1.0)
    assert metrics["PCK"] == 1.0
    assert metrics["PCK-AUC"] == 1.0


def test_the_ground_truth_is_of_the_persons_category(tiny_coco: Any) -> None:
    document = tiny_coco.read()
    document["categories"].insert(0, {"id": 9, "name": "dog", "keypoints": ["nose", "tail"]})
    tiny_coco.write(document)
    people = read(tiny_coco)
    scorer = scorer_of(people)
    assert scorer.truth.category_id == people.category_id == 1
    assert scorer.score(perfect(people)).metrics["AP"] == pytest.approx(1.0)


def test_without_a_torso_there_is_no_pck(tiny_coco: Any) -> None:
    names = tuple(name.replace("hip", "pelvis") for name in COCO_17.keypoint_names)
    people = read(tiny_coco)
    people = replace(people, skeleton=replace(people.skeleton, keypoint_names=names))
    metrics = scorer_of(people).score(perfect(people)).metrics
    assert np.isnan(metrics["PCK"])
    assert metrics["AP"] == pytest.approx(1.0)


def test_other_errors_of_pck_are_not_swallowed(
    tiny_coco: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise UserError("something else")

    monkeypatch.setattr("cpn.evaluation.conventions.pck", refuse)
    people = read(tiny_coco)
    with pytest.raises(UserError, match="something else"):
        scorer_of(people).score(perfect(people))


def test_only_the_metrics_travel_to_other_ranks(
    tiny_coco: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = read(tiny_coco)
    estimate: Callable[..., Any] = lambda *_: perfect(people)  # noqa: E731
    monkeypatch.setattr("cpn.tasks.evaluation.pose_evaluation.estimate_instances", estimate)
    nothing: Any = None
    sent: list[Any] = []
    main, other = (
        evaluate_poses(nothing, [], scorer_of(people), PretendedRank(rank, 2, sent=sent))
        for rank in (0, 1)
    )
    assert sent == [(main.metrics, None)]
    assert main.on_main is not None
    assert len(main.on_main.results) == 6
    assert other.metrics == main.metrics
    assert other.on_main is None


def test_every_rank_hears_of_a_problem(tiny_coco: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    people = read(tiny_coco)
    one_lacks = perfect(people).take(np.arange(5))
    monkeypatch.setattr(
        "cpn.tasks.evaluation.pose_evaluation.estimate_instances", lambda *_: one_lacks
    )
    nothing: Any = None
    sent: list[Any] = []
    for rank in (0, 1):
        with pytest.raises(UserError, match="1 missing"):
            evaluate_poses(nothing, [], scorer_of(people), PretendedRank(rank, 2, sent=sent))


def test_validation_of_other_keypoints_than_training_is_refused(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config()
    EpochEvaluation.from_config(config, DistributedContext(), skeleton=COCO_17)
    trained = replace(COCO_17, keypoint_names=("chin", *COCO_17.keypoint_names[1:]))
    file = tmp_path / "annotations" / "tiny.json"
    with pytest.raises(UserError, match=f"{file}: keypoint 1 is 'nose', but 'chin' in what"):
        EpochEvaluation.from_config(config, DistributedContext(), skeleton=trained)


def test_the_precision_is_made_once(
    tiny_config: MakeConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    config = tiny_config("engine.precision=bf16")
    model = build_model(config, num_keypoints=17)
    with caplog.at_level("WARNING"):
        evaluation = EpochEvaluation.from_config(config, DistributedContext())
        first, second = evaluation.estimator(model), evaluation.estimator(model)
    assert first.precision is second.precision
    assert caplog.text.count("bf16 is up to 40 times slower") == 1


def test_confidence_is_told_from_the_score_for_rescoring(tiny_config: MakeConfig) -> None:
    config = tiny_config("heatmap=blurred_one_hot")
    evaluation = EpochEvaluation.from_config(config, DistributedContext())
    batch = evaluation.first_people(3)
    torch.manual_seed(0)
    model = build_model(config, num_keypoints=17).eval()
    poses = evaluation.estimator(model)(batch.crops, batch.image_to_crop)
    expected = np.clip(poses.rescoring_scores - 0.5, 0, 1)
    np.testing.assert_allclose(poses.confidences, expected, atol=1e-6)
    assert poses.confidences.shape == (3, 17)
