"""The process that leads a study: it says which training comes next, and keeps the ledger."""

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import psutil
import torch

from cpn.ablation.budget import halved
from cpn.ablation.costs import VariantCost
from cpn.ablation.folders import StudyFolders
from cpn.ablation.ledger import Entry, Key, Ledger
from cpn.ablation.plan import Run, Variant, chosen_variants
from cpn.ablation.results import RunFigures
from cpn.ablation.runner import Job, JobRunner, last_line, was_stopped
from cpn.benchmark.report import usable_cores
from cpn.config.schema import TrainingConfig
from cpn.config.study_schema import StudyConfig
from cpn.errors import UserError, error_text
from cpn.process.interruption import STOP
from cpn.tasks.ablation.orders import TimingOrder, TrainingOrder, UseOrder, write_order

logger = logging.getLogger(__name__)

_UNFINISHED = ("planned", "running", "stopped")
SPARE_MEMORY = 1.25  # what a training may need beyond what its timing did


def places(
    asked: int | None, device: str, trainings: int, memory_mib: float = 0.0
) -> list[dict[str, str]]:
    """The environment of every job that may run at the same time.

    Args:
        asked: how many; None: one per GPU, or as many as cores and memory allow.
        device: of the trainings; "cpu" leaves GPUs alone.
        trainings: how many there are to do.
        memory_mib: that the largest of them needs, if known.
    """
    gpus = [] if device == "cpu" else _gpus()
    if gpus:
        count = min(asked or len(gpus), max(1, trainings))
        return [{"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} for place in range(count)]
    cores = usable_cores()
    count = asked or cores
    if asked is None and memory_mib:
        free = psutil.virtual_memory().available / 2**20
        count = min(count, max(1, int(free / (SPARE_MEMORY * memory_mib))))
    count = min(count, max(1, trainings))
    return [{"OMP_NUM_THREADS": str(max(1, cores // count))}] * count


def _gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name."""
    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def measure_costs(
    study: StudyConfig,
    device: str,
    variants: Iterable[Variant],
    folders: StudyFolders,
    *,
    timer: str,
) -> dict[str, VariantCost]:
    """What each variant costs, one after the other; what was measured before is taken.

    Args:
        study: seeds, jobs, length of the timing.
        device: of the trainings.
        variants: to measure.
        folders: where the files are.
        timer: the module that measures one, see `Subject.timer`.

    Raises:
        UserError: a variant cannot be built or trained at all.
        StudyInterrupted: it was asked to stop.
    """
    chosen = {variant.name: variant for variant in variants}
    trainings = {variant.first.training_id for variant in chosen.values()}
    environment = places(study.jobs, device, len(trainings) * len(study.seeds))[0]
    failed: dict[str, str] = {}

    def waiting() -> list[Job]:
        left = [n for n, v in chosen.items() if n not in failed and _known_cost(v, folders) is None]
        return [_timing_job(chosen[name], folders, timer) for name in left]

    def prepare(job: Job) -> bool:
        run = chosen[job.name].first
        if _known_cost(chosen[job.name], folders) is not None:
            return False
        logger.info("timing %s", job.name)
        out = str(folders.cost(*run.timed))
        order = TimingOrder[TrainingConfig](config=run.use, steps=study.timing_steps, out=out)
        write_order(order, job.order)
        return True

    def ended(job: Job, code: int, _seconds: float) -> None:
        if code and not was_stopped(code):
            failed[job.name] = _what_happened(job, code)

    JobRunner([environment], STOP.is_made).run(waiting, prepare=prepare, ended=ended)
    if failed:
        told = "; ".join(
            f"{', '.join(name for name in failed if failed[name] == message)}: {message}"
            for message in dict.fromkeys(failed.values())
        )
        logs = folders.study / "costs"
        raise UserError(f"study {study.name} cannot be timed: {told}; see the logs in {logs}")
    found = {name: _known_cost(variant, folders) for name, variant in chosen.items()}
    return {name: cost for name, cost in found.items() if cost is not None}


def _timing_job(variant: Variant, folders: StudyFolders, timer: str) -> Job:
    cost = folders.cost(*variant.first.timed)
    return Job(
        name=variant.name,
        module=timer,
        order=folders.study / "orders" / cost.name,
        log=cost.with_suffix(".log"),
        # One timing at a time in this study: a neighbour would slow it down.
        claim=cost.with_name(".lock"),
    )


def _known_cost(variant: Variant, folders: StudyFolders) -> VariantCost | None:
    try:
        return VariantCost.load(folders.cost(*variant.first.timed))
    except FileNotFoundError:
        return None


def _what_happened(job: Job, code: int) -> str:
    """Why a job's process failed, as it said itself if it could."""
    killed = f"its process was ended by signal {-code}" if code < 0 else ""
    if code == -signal.SIGKILL:
        killed += " (did memory run out?)"
    return killed or last_line(job.log) or f"its process ended with {code}"


@dataclass
class Leader:
    """Leads the trainings of a study to their end.

    Attributes:
        study: as configured.
        runs: all of them, by variant and seed.
        folders: where the files are.
        ledger: what became of each.
        worker: the module that trains and evaluates, see `Subject.worker`.
        report: writes the table anew, after each training.
    """

    study: StudyConfig
    runs: Mapping[Key, Run]
    folders: StudyFolders
    ledger: Ledger
    worker: str
    report: Callable[[], object]
    _began: float = field(default_factory=time.monotonic)
    _ended_here: int = 0

    def lead(self, environments: Sequence[Mapping[str, str]]) -> None:
        """Runs all trainings that the budget leaves, and evaluates them.

        Raises:
            StudyInterrupted: it was asked to stop.
        """
        self._take_up()
        JobRunner(environments, STOP.is_made).run(
            self._waiting, prepare=self._prepare, ended=self._ended
        )

    def _take_up(self) -> None:
        """What an earlier or another process has finished is done; what failed is tried again."""
        known = self.ledger.entries()
        for key in self.runs:
            if self._is_done(key) and known[key].state != "done":
                self._note_done(key)
            elif known[key].state in {"failed", "cut"} or (
                known[key].state == "done" and not self._is_done(key)
            ):
                self.ledger.note(key, state="planned", message="")
        done = sum(entry.state == "done" for entry in self._entries())
        logger.info("study %s: %d runs, %d done", self.study.name, len(self.runs), done)

    def _waiting(self) -> list[Job]:
        """A job per training that an open run still needs."""
        entries = self.ledger.entries()
        left = [key for key in self._open(entries) if entries[key].state not in {"done", "failed"}]
        trainings = dict.fromkeys(self.runs[key].training_id for key in left)
        return [self._job(identity) for identity in trainings]

    def _open(self, entries: Mapping[Key, Entry]) -> list[Key]:
        """The runs that may be begun by now, seed by seed."""
        if not self.study.budget.halving:
            return sorted(self.runs, key=lambda key: self.study.seeds.index(key[1]))
        ended = {k: entries[k].ap for k in self.runs if entries[k].state in {"done", "failed"}}
        found = halved(
            list(chosen_variants(self.study)), self.study.seeds, self.study.baseline, ended
        )
        for name, reason in found.cut.items():
            for key in self.runs:
                unfinished = entries[key].state not in {"done", "failed", "cut"}
                if key[0] == name and unfinished and key not in found.open:
                    self.ledger.note(key, state="cut", message=reason)
        return found.open

    def _job(self, identity: str) -> Job:
        folder = self.folders.trainings
        return Job(
            name=identity,
            module=self.worker,
            order=self.folders.study / "orders" / f"{identity}.json",
            log=folder / f"{identity}.log",
            claim=folder / f".{identity}.claim",
        )

    def _prepare(self, job: Job) -> bool:
        """Writes what is left to do of a training, now that nobody else can begin it."""
        keys = self._left_of(job.name)
        for key in [key for key in keys if self._is_done(key)]:
            self._note_done(key)
            keys.remove(key)
        if not keys:
            return False
        first = self.runs[keys[0]]
        folder = first.folder or self.folders.training(job.name)
        run = first.training.run.model_copy(
            update={"root": str(folder.parent), "name": folder.name, "if_exists": "resume"}
        )
        uses = [
            UseOrder[TrainingConfig](
                use=self.runs[key].use,
                identity=self.runs[key].use_id,
                folder=str(self.folders.run(*key)),
            )
            for key in keys
        ]
        training = first.training.model_copy(update={"run": run})
        resamples = self.study.resamples
        order = TrainingOrder[TrainingConfig](training=training, uses=uses, resamples=resamples)
        write_order(order, job.order)
        for key in keys:
            self.ledger.begin(key)
        logger.info("begins: %s", _names(keys))
        return True

    def _left_of(self, training: str) -> list[Key]:
        entries = self.ledger.entries()
        keys = self._open(entries)
        return [
            key
            for key in keys
            if self.runs[key].training_id == training and entries[key].state != "done"
        ]

    def _ended(self, job: Job, code: int, seconds: float) -> None:
        entries = self.ledger.entries()
        keys = [key for key in self.runs if self.runs[key].training_id == job.name]
        begun = [key for key in keys if entries[key].state == "running"]
        self._ended_here += 1
        for number, key in enumerate(begun):
            own = entries[key].seconds + (seconds if number == 0 else 0.0)
            if self._is_done(key):
                self._note_done(key, seconds=own)
            elif was_stopped(code):
                self.ledger.note(key, state="stopped", seconds=own, message="stopped as asked")
            else:
                message = _what_happened(job, code)
                self.ledger.note(key, state="failed", seconds=own, message=message)
                logger.warning("%s failed: %s; see %s", _names([key]), message, job.log)
        try:
            self.report()
        except (UserError, OSError) as error:
            # The trainings go on; the last report, when all are done, may fail.
            logger.warning("the table is not written: %s", error_text(error))
        self._tell()

    def _is_done(self, key: Key) -> bool:
        try:
            figures = RunFigures.load(self.folders.figures(*key))
        except (FileNotFoundError, UserError):
            return False
        return (
            figures.use == self.runs[key].use_id and len(figures.resampled) == self.study.resamples
        )

    def _note_done(self, key: Key, **changes: float) -> None:
        ap = RunFigures.load(self.folders.figures(*key)).metrics["AP"]
        found = ap if math.isfinite(ap) else None
        self.ledger.note(key, state="done", ap=found, message="", **changes)
        logger.info("done: %s AP %s", _names([key]), "-" if found is None else f"{found:.4f}")

    def _tell(self) -> None:
        entries = list(self._entries())
        ended = sum(entry.state in {"done", "failed", "cut"} for entry in entries)
        rate = (time.monotonic() - self._began) / max(1, self._ended_here)
        left = {entry.training for entry in entries if entry.state in _UNFINISHED}
        about = timedelta(seconds=round(rate * len(left)))
        logger.info("%d of %d runs ended; about %s left", ended, len(entries), about)

    def _entries(self) -> list[Entry]:
        known = self.ledger.entries()
        return [known[key] for key in self.runs]


def _names(keys: Iterable[Key]) -> str:
    return ", ".join(f"{variant} seed {seed}" for variant, seed in keys)
