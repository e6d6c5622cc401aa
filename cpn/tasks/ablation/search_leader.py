"""The process that leads a search: it asks for combinations, and has them trained."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from cpn.ablation.folders import StudyFolders
from cpn.ablation.plan import Run
from cpn.ablation.results import RunFigures
from cpn.ablation.runner import Job, JobRunner, last_line, was_stopped
from cpn.ablation.space import Dimension, overrides_of, size_of
from cpn.ablation.trials import Trial, TrialBook
from cpn.config.schema import TrainingConfig
from cpn.config.validation import ConfigError
from cpn.errors import UserError
from cpn.process.interruption import STOP
from cpn.tasks.ablation.orders import TrainingOrder, UseOrder, write_order

logger = logging.getLogger(__name__)

# So many suggestions in a row that are not worth a training end a search.
MOST_USELESS = 50
MOST_FAILURES = 3
LOOK_SECONDS = 2.0
RESAMPLES = 1  # a search has no intervals: one seed says nothing of the other seeds


@dataclass
class SearchLeader:
    """Leads the trainings of a search to their end; several may work on one search.

    A trial that is running in the journal, but whose training nobody has claimed, was left by a
    process that died: whoever sees it takes it up.

    Attributes:
        wanted: trials that count.
        seed: of the trainings.
        dimensions: of the search.
        plan: makes the run of overrides.
        book: the trials.
        folders: where the files are.
        worker: the module that trains and evaluates, see `Subject.worker`.
        report: writes the table anew, after each training.
    """

    wanted: int
    seed: int
    dimensions: Sequence[Dimension]
    plan: Callable[[Sequence[str]], Run]
    book: TrialBook
    folders: StudyFolders
    worker: str
    report: Callable[[], object]
    _runs: dict[int, Run] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)
    _hopeless: set[int] = field(default_factory=set)
    _places: int = 1
    _failures: int = 0
    _is_exhausted: bool = False
    _looked: dict[int, float] = field(default_factory=dict)

    def lead(self, environments: Sequence[Mapping[str, str]], *, may_prune: bool) -> None:
        """Runs trials until there are as many as are wanted, or no new ones.

        Raises:
            StudyInterrupted: it was asked to stop.
            UserError: several trainings in a row failed.
        """
        self._places = len(environments)
        JobRunner(environments, STOP.is_made).run(
            self._waiting,
            prepare=self._prepare,
            ended=self._ended,
            is_hopeless=self._is_hopeless if may_prune else lambda _job: False,
        )

    def _waiting(self) -> list[Job]:
        """A job per trial that somebody left; else one for a new trial, if a place is free."""
        running = [trial for trial in self.book.trials() if trial.state == "running"]
        left = [t for t in running if t.use and t.number not in self._begun and self._is_free(t)]
        if not left and len(self._begun) < self._places and (new := self._next()) is not None:
            left = [new]
        return [self._job(trial) for trial in left]

    def _is_free(self, trial: Trial) -> bool:
        try:
            with FileLock(self._claim(trial), timeout=0):
                return True
        except Timeout:
            return False
        except FileNotFoundError:  # the folder of trainings is made with the first one
            return True

    def _next(self) -> Trial | None:
        """A combination to be trained; None if there are enough, or nothing new is found."""
        with self.book.lock:
            for trial in self.book.trials():
                if trial.state == "running" and not trial.use:
                    planned = self._planned(self.book.completed(trial.number))
                    if planned is not None:
                        return planned
            for attempt in range(MOST_USELESS):
                if self._is_exhausted or self._count() >= self.wanted:
                    return None
                if self._tried() >= size_of(self.dimensions):
                    break
                # What the sampler likes best, it suggests again and again; chance finds the rest.
                planned = self._planned(self.book.ask(at_random=attempt > 0))
                if planned is not None:
                    return planned
        self._is_exhausted = True
        logger.info("no more combinations are found that differ: the search ends with these")
        return None

    def _count(self) -> int:
        return sum(trial.counts for trial in self.book.trials())

    def _tried(self) -> int:
        return len({tuple(trial.values.items()) for trial in self.book.trials()})

    def _planned(self, trial: Trial) -> Trial | None:
        """The trial with what it comes to; None if it is not to be trained."""
        known = {t.use: t.number for t in self.book.trials() if t.use and t.counts}
        try:
            overrides = overrides_of(self.dimensions, trial.values)
            run = self._runs[trial.number] = self.plan(overrides)
        except ConfigError as error:
            self.book.end(trial.number, "infeasible", str(error))
            logger.info("trial %d contradicts itself: %s", trial.number, error)
            return None
        if run.use_id in known:
            self.book.end(trial.number, "repeated", f"of trial {known[run.use_id]}")
            return None
        return self.book.plan(trial.number, overrides, run.training_id, run.use_id)

    def _job(self, trial: Trial) -> Job:
        folder = self.folders.trainings
        return Job(
            name=str(trial.number),
            module=self.worker,
            order=self.folders.study / "orders" / f"{trial.number}.json",
            log=folder / f"{trial.training}.log",
            claim=self._claim(trial),
        )

    def _claim(self, trial: Trial) -> Path:
        return self.folders.trainings / f".{trial.training}.claim"

    def _prepare(self, job: Job) -> bool:
        """Writes the order, now that nobody else can begin the training."""
        trial = self._trial(job)
        if trial.state != "running":
            return False
        if self._finish(trial):
            self.report()
            return False
        run = self._runs.get(trial.number) or self.plan(trial.overrides)
        name = {"root": str(self.folders.trainings), "name": trial.training, "if_exists": "resume"}
        training = run.training.model_copy(update={"run": run.training.run.model_copy(update=name)})
        folder = str(self._folder(trial))
        use = UseOrder[TrainingConfig](use=run.use, identity=trial.use, folder=folder)
        order = TrainingOrder[TrainingConfig](training=training, uses=[use], resamples=RESAMPLES)
        write_order(order, job.order)
        self._begun.add(trial.number)
        logger.info("trial %d begins: %s", trial.number, _shown(trial))
        return True

    def _ended(self, job: Job, code: int, _seconds: float) -> None:
        trial = self._trial(job)
        self._begun.discard(trial.number)
        self.book.report(trial.number, self._ap_by_epoch(trial))
        if self._finish(trial):
            self._failures = 0
        elif trial.number in self._hopeless and was_stopped(code):
            self.book.end(trial.number, "pruned")
            logger.info("trial %d is given up", trial.number)
        elif not was_stopped(code):
            message = last_line(job.log) or f"its process ended with {code}"
            self._fail(trial, f"{message}; see {job.log}")
        self.report()

    def _fail(self, trial: Trial, message: str) -> None:
        self.book.end(trial.number, "failed", message)
        logger.warning("trial %d failed: %s", trial.number, message)
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            self.report()
            raise UserError(f"{self._failures} trainings in a row failed, the last one: {message}")

    def _finish(self, trial: Trial) -> bool:
        """Whether the figures are there; then the trial is done."""
        try:
            figures = RunFigures.load(self._folder(trial) / "figures.npz")
        except (FileNotFoundError, UserError):
            return False
        if figures.use != trial.use:
            return False
        ap = figures.metrics["AP"]
        if not math.isfinite(ap):
            raise UserError("data.val: nobody to evaluate, so there is no AP to search by")
        self.book.finish(trial.number, ap)
        logger.info("trial %d: AP %.4f", trial.number, ap)
        return True

    def _is_hopeless(self, job: Job) -> bool:
        trial = self._trial(job)
        if time.monotonic() - self._looked.get(trial.number, -math.inf) < LOOK_SECONDS:
            return False
        self._looked[trial.number] = time.monotonic()
        self.book.report(trial.number, self._ap_by_epoch(trial))
        if not self.book.is_hopeless(trial.number):
            return False
        self._hopeless.add(trial.number)
        return True

    def _ap_by_epoch(self, trial: Trial) -> dict[int, float]:
        """AP of the evaluations on the way, by epoch from 1 on."""
        path = self.folders.training(trial.training) / "metrics.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        records = [json.loads(line) for line in lines if line.endswith(b"\n")]
        found = {r["epoch"] + 1: r.get("AP") for r in records if r["kind"] == "eval"}
        return {epoch: ap for epoch, ap in found.items() if ap is not None}

    def _trial(self, job: Job) -> Trial:
        return self.book.trials()[int(job.name)]

    def _folder(self, trial: Trial) -> Path:
        return self.folders.run(f"trial{trial.number}", self.seed)


def _shown(trial: Trial) -> str:
    return ", ".join(f"{name}={value}" for name, value in trial.values.items())
