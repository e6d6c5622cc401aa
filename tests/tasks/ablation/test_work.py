"""What a working process does with any subject: here one that makes all of it up."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cpn.ablation.results import RunFigures
from cpn.config.schema import TrainingConfig
from cpn.errors import UserError
from cpn.process.interruption import EvaluationStopped, Interrupted
from cpn.tasks.ablation.orders import TrainingOrder, UseOrder
from cpn.tasks.ablation.work import Craft, Evaluated, work
from cpn.tasks.training.run_directory import RunDirectory
from cpn.tasks.training.run_inputs import note_inputs

Make = Callable[..., TrainingConfig]
FakeCraft = Craft[TrainingConfig, str]
Evaluate = Callable[[UseOrder[TrainingConfig], str, int], Evaluated]


def evaluate(order: UseOrder[TrainingConfig], loaded: str, resamples: int) -> Evaluated:
    """A tenth of the loaded network's weight, by figures of three numbers of its own."""
    ap = float(loaded) / 10
    numbers, drawn = np.array([ap, 0.5, 1.0]), np.full((resamples, 3), ap)
    figures = RunFigures(order.identity, "same", 9, (), numbers, drawn, ("AP", "b", "c"))
    return Evaluated([{"score": ap}], {"AP": ap}, figures)


def craft(trained: list[str], evaluates: Evaluate = evaluate) -> FakeCraft:
    def train(config: TrainingConfig) -> None:
        trained.append(config.run.name)
        directory = RunDirectory(Path(config.run.root) / config.run.name, resume=True)
        directory.path.mkdir(parents=True)
        note_inputs(directory.inputs, config)
        directory.last_model.write_text("3")
        directory.status.write_text('{"state": "done"}')

    return Craft(train=train, load=Path.read_text, evaluate=evaluates)


def order(config: TrainingConfig, out: Path, *names: str) -> TrainingOrder[TrainingConfig]:
    uses = [
        UseOrder[TrainingConfig](use=config, identity=f"id-{name}", folder=str(out / name))
        for name in names
    ]
    return TrainingOrder[TrainingConfig](training=config, uses=uses, resamples=4)


def test_a_network_is_trained_once_and_used_as_often_as_ordered(
    tiny_config: Make, tmp_path: Path
) -> None:
    trained: list[str] = []
    for names in (("a",), ("a", "b")):
        work(order(tiny_config(), tmp_path, *names), craft(trained))
    assert trained == ["tiny"]
    for name in ("a", "b"):
        figures = RunFigures.load(tmp_path / name / "figures.npz")
        assert (figures.use, figures.metrics) == (f"id-{name}", {"AP": 0.3, "b": 0.5, "c": 1.0})
        assert len(figures.resampled) == 4
        assert json.loads((tmp_path / name / "results.json").read_text()) == [{"score": 0.3}]


def test_a_use_that_fails_keeps_no_other_back(tiny_config: Make, tmp_path: Path) -> None:
    def refuse(use: UseOrder[TrainingConfig], loaded: str, resamples: int) -> Evaluated:
        if use.identity == "id-a":
            raise UserError("no such photo")
        return evaluate(use, loaded, resamples)

    with pytest.raises(UserError, match=r"^a: no such photo$"):
        work(order(tiny_config(), tmp_path, "a", "b"), craft([], refuse))
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b" / "figures.npz").exists()


def test_who_is_stopped_in_an_evaluation_says_so(tiny_config: Make, tmp_path: Path) -> None:
    def stop(_use: UseOrder[TrainingConfig], _loaded: str, _resamples: int) -> Evaluated:
        raise EvaluationStopped

    with pytest.raises(Interrupted, match="stopped as asked, in an evaluation"):
        work(order(tiny_config(), tmp_path, "a"), craft([], stop))


def test_a_network_of_other_people_is_refused(
    tiny_config: Make, tiny_coco: object, tmp_path: Path
) -> None:
    work(order(tiny_config(), tmp_path, "a"), craft([]))
    annotations = Path(tiny_config().data.val.annotations)
    annotations.write_text(annotations.read_text() + " ")
    with pytest.raises(UserError, match=r"other annotations than before.*choose another out="):
        work(order(tiny_config(), tmp_path, "b"), craft([]))
