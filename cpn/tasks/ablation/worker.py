"""Trains one network of a study and evaluates it: `python -m cpn.tasks.ablation.worker ORDER`."""

import json
import logging
from pathlib import Path

from cpn.ablation.results import RunFigures
from cpn.atomic import plain_json, write_json
from cpn.build import LoadedModel, load_model_with_metadata
from cpn.config.schema import TrainConfig
from cpn.engine.distributed import distributed_context
from cpn.errors import UserError
from cpn.evaluation.by_keypoint import match_subset
from cpn.evaluation.coco_keypoints import match_keypoints
from cpn.evaluation.results import parse_results, write_results
from cpn.interruption import STOP, EvaluationStopped, Interrupted
from cpn.models.folding import folded
from cpn.tasks.ablation.orders import TrainingOrder, UseOrder, obey
from cpn.tasks.epoch_evaluation import EpochEvaluation
from cpn.tasks.pose_evaluation import PoseEvaluation, PoseScorer, evaluate_poses
from cpn.tasks.run_directory import RunDirectory
from cpn.tasks.run_inputs import require_same_inputs
from cpn.tasks.train import train

logger = logging.getLogger(__name__)


def work(order: TrainingOrder) -> None:
    """Trains what is not trained yet, and evaluates what has no figures yet.

    The network of the last epoch is evaluated, not the best one: choosing it on the images that it
    is judged by would favour variants whose AP moves up and down.

    Raises:
        UserError: data or settings cannot be used, or the training diverged.
        Interrupted: the process was asked to stop; its state is kept.
    """
    run = order.training.run
    directory = RunDirectory(Path(run.root) / run.name, resume=True)
    if is_trained(directory):
        _require_same_inputs(directory, order.training)
    else:
        train(order.training)
    loaded = load_model_with_metadata(directory.last_model)
    problems = []
    for use in order.uses:
        try:
            _evaluate(use, loaded, order.resamples)
        except UserError as error:
            problems.append(f"{Path(use.folder).name}: {error}")
        except EvaluationStopped:
            raise Interrupted("stopped as asked, in an evaluation") from None
    if problems:
        raise UserError("; ".join(problems))


def _require_same_inputs(directory: RunDirectory, training: TrainConfig) -> None:
    """Refuses a network that was trained on other people, before it is judged."""
    try:
        require_same_inputs(directory.inputs, training)
    except UserError as error:
        raise UserError(f"{error}; of a study: choose another out=") from error


def is_trained(directory: RunDirectory) -> bool:
    """Whether a training has come to its end."""
    try:
        status = json.loads(directory.status.read_bytes())
    except (OSError, ValueError):
        return False
    return status.get("state") == "done" and directory.last_model.is_file()


def _evaluate(order: UseOrder, loaded: LoadedModel, resamples: int) -> None:
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
    folder = Path(order.folder)
    write_results(found.results, folder / "results.json")
    write_json(folder / "metrics.json", plain_json(found.metrics))
    # Last: the run is done when its figures are there.
    figures_of(scorer, found, order.identity, resamples).save(folder / "figures.npz")
    logger.info("evaluated: AP %.4f, %s", found.metrics["AP"], folder)


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


if __name__ == "__main__":
    obey(TrainingOrder, work)
