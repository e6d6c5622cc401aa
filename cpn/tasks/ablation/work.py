"""What a working process of a study does, whatever the study is of."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from cpn.ablation.results import RunFigures
from cpn.config.schema import TrainingConfig
from cpn.errors import UserError
from cpn.files.atomic import plain_json, write_json
from cpn.process.interruption import EvaluationStopped, Interrupted
from cpn.tasks.ablation.orders import ConfigT, TrainingOrder, UseOrder
from cpn.tasks.training.run_directory import RunDirectory
from cpn.tasks.training.run_inputs import require_same_inputs

logger = logging.getLogger(__name__)

LoadedT = TypeVar("LoadedT")


class Evaluated(NamedTuple):
    """A trained network, evaluated.

    Attributes:
        results: COCO results.
        metrics: of all of them.
        figures: the same on resamples of the images.
    """

    results: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]
    figures: RunFigures


@dataclass(frozen=True)
class Craft(Generic[ConfigT, LoadedT]):
    """How a subject's networks are trained and evaluated.

    Attributes:
        train: one run, or what is left of it.
        load: the model file of a run.
        evaluate: a loaded network as ordered, with so many resamples.
    """

    train: Callable[[ConfigT], object]
    load: Callable[[Path], LoadedT]
    evaluate: Callable[[UseOrder[ConfigT], LoadedT, int], Evaluated]


def work(order: TrainingOrder[ConfigT], craft: Craft[ConfigT, LoadedT]) -> None:
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
        craft.train(order.training)
    loaded = craft.load(directory.last_model)
    problems = []
    for use in order.uses:
        try:
            _keep(craft.evaluate(use, loaded, order.resamples), Path(use.folder))
        except UserError as error:
            problems.append(f"{Path(use.folder).name}: {error}")
        except EvaluationStopped:
            raise Interrupted("stopped as asked, in an evaluation") from None
    if problems:
        raise UserError("; ".join(problems))


def _keep(found: Evaluated, folder: Path) -> None:
    write_json(folder / "results.json", list(found.results))
    write_json(folder / "metrics.json", plain_json(found.metrics))
    # Last: the run is done when its figures are there.
    found.figures.save(folder / "figures.npz")
    logger.info("evaluated: AP %.4f, %s", found.metrics["AP"], folder)


def _require_same_inputs(directory: RunDirectory, training: TrainingConfig) -> None:
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
