"""Trains one network of a study and evaluates it: `python -m cpn.tasks.ablation.worker ORDER`."""

from functools import partial

from cpn.ablation.results import RunFigures
from cpn.build import LoadedModel, load_model_with_metadata
from cpn.config.schema import TrainConfig
from cpn.engine.distributed import distributed_context
from cpn.evaluation.by_keypoint import match_subset
from cpn.evaluation.coco_keypoints import match_keypoints
from cpn.evaluation.results import parse_results
from cpn.models.folding import folded
from cpn.process.interruption import STOP
from cpn.tasks.ablation.orders import TrainingOrder, UseOrder, obey
from cpn.tasks.ablation.work import Craft, Evaluated, work
from cpn.tasks.evaluation.epoch_evaluation import EpochEvaluation
from cpn.tasks.evaluation.pose_evaluation import PoseEvaluation, PoseScorer, evaluate_poses
from cpn.tasks.train import train


def evaluate(order: UseOrder[TrainConfig], loaded: LoadedModel, resamples: int) -> Evaluated:
    """Scores a trained network as the order wants it to be used; see `Craft.evaluate`."""
    config, engine = order.use, order.use.engine
    with distributed_context(engine.device, timeout_seconds=engine.timeout_seconds) as context:
        evaluation = EpochEvaluation.from_config(config, context, skeleton=loaded.skeleton)
        scorer = evaluation.people.scorer
        estimator = evaluation.estimator(
            folded(loaded.model, config.input.size_hw).to(context.device)
        )
        found = evaluate_poses(
            estimator,
            evaluation.people.batches,
            scorer,
            context,
            stop_requested=STOP.is_made,
        ).on_main
    assert found is not None, "one process is the main one"
    figures = figures_of(scorer, found, order.identity, resamples)
    return Evaluated(found.results, found.metrics, figures)


def figures_of(
    scorer: PoseScorer, found: PoseEvaluation, identity: str, resamples: int
) -> RunFigures:
    """The figures of an evaluation, on the resamples that all runs share."""
    truth, skeleton = scorer.evaluated_truth(), scorer.people.skeleton
    results = parse_results(found.results)
    whole = match_keypoints(truth, results, sigmas=skeleton.sigmas, engine="hotcoco")
    by_keypoint = {
        name: match_subset(truth, results, skeleton, (k,)).coco.matches()
        for k, name in enumerate(skeleton.keypoint_names)
    }
    return RunFigures.of(identity, whole.coco.matches(), by_keypoint, resamples=resamples)


CRAFT = Craft(train=train, load=load_model_with_metadata, evaluate=evaluate)

if __name__ == "__main__":
    obey(TrainingOrder[TrainConfig], partial(work, craft=CRAFT))
