"""The trials of a search: a journal of Optuna's, shared by all processes that work on it."""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from filelock import FileLock

from cpn.ablation.space import Dimension, Range, Value
from cpn.errors import UserError, first_line

try:
    import optuna
except ImportError as error:
    raise UserError("a search needs the extra sweep: pip install 'cpn-pose[sweep]'") from error
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

logger = logging.getLogger(__name__)

Ending: TypeAlias = Literal["pruned", "failed", "infeasible", "repeated"]
State: TypeAlias = Literal["running", "done"] | Ending
Pruner: TypeAlias = Literal["none", "halving", "hyperband"]


@dataclass(frozen=True)
class Trial:
    """One combination.

    Attributes:
        number: from 0 on.
        state: `infeasible` does not compose, `repeated` is an earlier trial's.
        values: by the dimension's name; not all of them before it is planned.
        ap: of the trained network; of a pruned one the last AP on the way.
        overrides: what it comes to.
        training: id of what is trained; "" before it is planned.
        use: id of all that decides the figures.
        message: why it failed or is infeasible.
        evaluations: how many there were on the way.
    """

    number: int
    state: State
    values: Mapping[str, Value]
    ap: float | None
    overrides: Sequence[str] = ()
    training: str = ""
    use: str = ""
    message: str = ""
    evaluations: int = 0

    @property
    def counts(self) -> bool:
        """Whether it is one of the trials that were asked for."""
        return self.state not in {"infeasible", "repeated"}


@dataclass
class TrialBook:
    """`trials.log` of a search's folder.

    Attributes:
        folder: of the search.
        dimensions: what is chosen.
        seed: of the suggestions; each depends on it, its number and the trials so far.
        pruner: which trainings are given up.
        epochs: of a whole training.
        lock: to be held from asking for a trial to planning it.
    """

    folder: Path
    dimensions: Sequence[Dimension]
    seed: int
    pruner: Pruner
    epochs: int
    lock: FileLock = field(init=False)
    _study: optuna.Study = field(init=False)

    def open(self, identity: Mapping[str, Any]) -> None:
        """Opens the journal, or begins one.

        Args:
            identity: what all trials share; a journal of something else is refused.

        Raises:
            UserError: it is damaged, or of another search.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / ".trials.lock")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = self.folder / "trials.log"
        with self.lock:
            try:
                self._study = self._opened(path)
            except (ValueError, KeyError, RuntimeError) as error:
                raise UserError(
                    f"{path} is damaged ({first_line(error)}); move it away: finished trainings "
                    "are found again"
                ) from error
            self._require_identity(path, identity)

    def _opened(self, path: Path) -> optuna.Study:
        # Not one of Optuna's locks: those outlive a process that is killed while it writes.
        lock = FileLock(self.folder / ".journal.lock")
        with lock:
            _mend(path)
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path), lock_obj=cast("Any", lock))),
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=self._pruner(),
        )

    def _require_identity(self, path: Path, identity: Mapping[str, Any]) -> None:
        known = self._study.user_attrs.get("identity")
        if known is None:
            self._study.set_user_attr("identity", dict(identity))
            return
        differing = [key for key in identity if known.get(key) != identity[key]]
        if set(differing) - {"given"}:
            then, now = (
                ", ".join(f"{key} {each.get(key)}" for key in differing)
                for each in (known, identity)
            )
            raise UserError(
                f"{path} is of another search (then {then}; now {now}); choose another "
                "search.name=, or give what was given then"
            )

    def trials(self) -> list[Trial]:
        """All of them by number."""
        return [_trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def ask(self, *, at_random: bool) -> Trial:
        """A new combination: by what is known of the earlier ones (TPE), or at random."""
        return self.completed(self._study.ask().number, at_random=at_random)

    def completed(self, number: int, *, at_random: bool = False) -> Trial:
        """A trial with a value in every dimension, also where its process died asking."""
        self._prepare_sampler(number, at_random=at_random)
        trial = self._open_trial(number)
        for dimension in self.dimensions:
            _suggest(trial, dimension)
        return self._now(number)

    def plan(self, number: int, overrides: Sequence[str], training: str, use: str) -> Trial:
        """Notes what a combination comes to."""
        trial = self._open_trial(number)
        trial.set_user_attr("overrides", list(overrides))
        trial.set_user_attr("training", training)
        trial.set_user_attr("use", use)
        return self._now(number)

    def report(self, number: int, ap_by_epoch: Mapping[int, float]) -> None:
        """Notes AP on the way."""
        trial = self._open_trial(number)
        known = self._study.get_trials(deepcopy=False)[number].intermediate_values
        for epoch, ap in ap_by_epoch.items():
            if epoch not in known and math.isfinite(ap):
                trial.report(ap, epoch)

    def is_hopeless(self, number: int) -> bool:
        """Whether the pruner gives it up."""
        return self._open_trial(number).should_prune()

    def finish(self, number: int, ap: float) -> None:
        """It is trained and evaluated."""
        # The pruner compares with those that it was asked of: also with one that was done so fast
        # that nobody asked.
        self._open_trial(number).should_prune()
        self._study.tell(number, ap)

    def end(self, number: int, ending: Ending, message: str = "") -> None:
        """It comes to no AP. The sampler takes it for a bad one, but for a repeated one."""
        trial = self._open_trial(number)
        trial.set_user_attr("ending", ending)
        trial.set_user_attr("message", " ".join(message.split()))
        state = OptunaState.FAIL if ending == "repeated" else OptunaState.PRUNED
        self._study.tell(number, state=state)

    def importances(self) -> dict[str, float]:
        """How much each dimension matters to be among the best (PED-ANOVA, IJCAI 2023).

        Empty before four trials are done, or where all are the same.
        """
        done = {trial.ap for trial in self.trials() if trial.state == "done"}
        if len(done) < 4 or len(self.dimensions) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return optuna.importance.get_param_importances(self._study, evaluator=evaluator)

    def _now(self, number: int) -> Trial:
        return _trial(self._study.get_trials(deepcopy=False)[number])

    def _open_trial(self, number: int) -> optuna.Trial:
        frozen = self._study.get_trials(deepcopy=False)[number]
        return optuna.Trial(self._study, frozen._trial_id)  # noqa: SLF001 - there is no other way

    def _prepare_sampler(self, number: int, *, at_random: bool) -> None:
        seed = 1_000_003 * self.seed + number
        tpe, random = optuna.samplers.TPESampler, optuna.samplers.RandomSampler
        self._study.sampler = random(seed) if at_random else tpe(seed=seed)

    def _pruner(self) -> optuna.pruners.BasePruner:
        if self.pruner == "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
        if self.pruner == "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self.epochs)
        return optuna.pruners.NopPruner()


def _mend(path: Path) -> None:
    """Cuts off a line that a killed process did not come to the end of."""
    if path.is_file() and not (text := path.read_bytes()).endswith(b"\n") and text:
        with path.open("r+b") as file:
            file.truncate(text.rfind(b"\n") + 1)


def _suggest(trial: optuna.Trial, dimension: Dimension) -> None:
    if not isinstance(dimension, Range):
        trial.suggest_categorical(dimension.name, list(dimension.options))
    elif dimension.is_whole:
        ends, step = (int(dimension.low), int(dimension.high)), int(dimension.step or 1)
        trial.suggest_int(dimension.name, *ends, log=dimension.log, step=step)
    else:
        low, high = float(dimension.low), float(dimension.high)
        trial.suggest_float(dimension.name, low, high, log=dimension.log, step=dimension.step)


def _trial(frozen: FrozenTrial) -> Trial:
    noted = frozen.user_attrs
    state: State = noted.get("ending", "pruned")
    if not frozen.state.is_finished():
        state = "running"
    elif frozen.state == OptunaState.COMPLETE:
        state = "done"
    return Trial(
        number=frozen.number,
        state=state,
        values=frozen.params,
        ap=frozen.value if frozen.values else None,
        overrides=noted.get("overrides", ()),
        training=noted.get("training", ""),
        use=noted.get("use", ""),
        message=noted.get("message", ""),
        evaluations=len(frozen.intermediate_values),
    )
