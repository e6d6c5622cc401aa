"""What a run tells: a progress bar or plain lines, TensorBoard events and `metrics.jsonl`.

Clock times are shown and logged; nothing is decided by them. A log that cannot be written stops no
training.
"""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from cpn.engine.events import EventWriter
from cpn.errors import os_error_text
from cpn.files.atomic import append_whole, plain_json

logger = logging.getLogger(__name__)

HEADLINE = ("loss", "lr", "grad_norm", "images_per_second")


class NullTracker:
    """The tracker of every rank but the first: silent."""

    @property
    def position(self) -> int:
        """How much of the log there is; a resumed run goes on from there."""
        return 0

    @contextmanager
    def session(
        self,
        *,
        step: int,  # noqa: ARG002
        total_steps: int,  # noqa: ARG002
        position: int | None = None,  # noqa: ARG002
    ) -> Iterator[None]:
        """Track a run from optimizer step `step` on.

        Args:
            step: What was done before.
            total_steps: Of the whole run.
            position: What was logged after it is dropped; None: all of it.
        """
        yield

    def advance(self) -> None:
        """One optimizer step is done."""

    def train(self, *, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Log training figures: loss, its parts, lr, grad_norm, images_per_second."""

    def evaluation(self, *, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Log the figures of an evaluation."""

    def image(self, tag: str, image: NDArray[np.uint8], *, step: int) -> None:
        """Log an RGB picture (H, W, 3) to TensorBoard."""

    def message(self, text: str) -> None:
        """Show one line to the person who watches."""


class Tracker(NullTracker):
    """Writes `<run_dir>/metrics.jsonl` and `<run_dir>/tensorboard`, and shows progress.

    What the disk does not take is missing from them; one warning says so.

    Args:
        run_dir: The run's folder.
        console: Where progress is shown: a bar on a terminal, plain lines elsewhere.
    """

    def __init__(self, run_dir: Path, *, console: Console | None = None) -> None:
        self._run_dir = run_dir
        self._console = console or Console()
        self._events: EventWriter | None = None
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[rate]} images/s"),
            TextColumn("{task.fields[left]} left"),
            console=self._console,
            expand=True,
        )
        self._bar = TaskID(0)
        self._step = self._first_step = self._total_steps = 0
        self._resumed_at = 0.0
        self._complete = True

    @property
    def metrics_path(self) -> Path:
        """One JSON object per line: `kind` (train or eval), `epoch`, `step` and figures."""
        return self._run_dir / "metrics.jsonl"

    @property
    def position(self) -> int:
        """Bytes of `metrics.jsonl`."""
        return self.metrics_path.stat().st_size if self.metrics_path.exists() else 0

    @contextmanager
    def session(
        self, *, step: int, total_steps: int, position: int | None = None
    ) -> Iterator[None]:
        """See `NullTracker.session`."""
        with self._tolerant():
            self._run_dir.mkdir(parents=True, exist_ok=True)
            self._truncate(position or 0)
        with self._tolerant():
            self._events = EventWriter(self._run_dir / "tensorboard", first_step=step + 1)
        self._step = self._first_step = step
        self._total_steps = total_steps
        self._resumed_at = time.perf_counter()
        self._bar = self._progress.add_task(
            "", total=total_steps, completed=step, epoch="-", loss="-", rate="-", left="-"
        )
        try:
            if self._console.is_terminal:
                self._progress.start()
            yield
        finally:
            if self._console.is_terminal:
                self._progress.stop()
            self._progress.remove_task(self._bar)
            self._events = None

    def advance(self) -> None:
        """See `NullTracker.advance`."""
        self._step += 1
        self._progress.advance(self._bar)

    def train(self, *, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """See `NullTracker.train`."""
        self._write("train", epoch, step, values)
        rate, left = f"{values['images_per_second']:.1f}", self._time_left()
        self._progress.update(
            self._bar, epoch=epoch + 1, loss=f"{values['loss']:.5f}", rate=rate, left=left
        )
        if not self._console.is_terminal:
            parts = " ".join(f"{k} {v:.5f}" for k, v in values.items() if k not in HEADLINE)
            self.message(
                f"epoch {epoch + 1}  step {step}/{self._total_steps}  loss {values['loss']:.5f}"
                f" ({parts})  lr {values['lr']:.2e}  grad {values['grad_norm']:.3g}"
                f"  {rate} images/s  {left} left"
            )

    def evaluation(self, *, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """See `NullTracker.evaluation`."""
        self._write("eval", epoch, step, metrics)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self.message(f"epoch {epoch + 1}  step {step}/{self._total_steps}  evaluation  {figures}")

    def image(self, tag: str, image: NDArray[np.uint8], *, step: int) -> None:
        """See `NullTracker.image`."""
        with self._tolerant():
            if self._events is not None:
                self._events.image(tag, image, step)

    def message(self, text: str) -> None:
        """See `NullTracker.message`."""
        self._console.out(text, highlight=False)

    def _write(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        line = {"kind": kind, "epoch": epoch, "step": step, **plain_json(values)}
        with self._tolerant():
            append_whole(self.metrics_path, f"{json.dumps(line)}\n".encode())
        with self._tolerant():
            if self._events is not None:
                scalars = {f"{kind}/{name}": value for name, value in values.items()}
                self._events.scalars(scalars, step)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Inside, a disk that takes no more ends nothing: it is told once."""
        try:
            yield
        except OSError as error:
            if self._complete:
                logger.warning(
                    "the log cannot be written (%s); training goes on, and what is not written is "
                    "missing from metrics.jsonl or tensorboard/",
                    os_error_text(error),
                )
            self._complete = False

    def _truncate(self, position: int) -> None:
        """What an earlier process logged after it had saved its state is logged again."""
        if self.position > position:
            os.truncate(self.metrics_path, position)

    def _time_left(self) -> str:
        elapsed = time.perf_counter() - self._resumed_at
        done = max(1, self._step - self._first_step)
        seconds = elapsed / done * (self._total_steps - self._step)
        return str(timedelta(seconds=round(seconds)))


def create_tracker(run_dir: Path, *, is_main: bool = True) -> NullTracker:
    """The tracker for this rank: only the main one writes."""
    return Tracker(run_dir) if is_main else NullTracker()
