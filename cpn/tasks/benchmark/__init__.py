"""Measures what a run costs, part by part; one module per suite."""

import logging
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cpn.benchmark.report import Report
from cpn.config.schema import BenchmarkConfig
from cpn.tasks.benchmark.evaluation import benchmark_evaluation
from cpn.tasks.benchmark.heatmaps import benchmark_heatmaps
from cpn.tasks.benchmark.loader import benchmark_loader
from cpn.tasks.benchmark.scaling import benchmark_scaling
from cpn.tasks.benchmark.startup import benchmark_startup
from cpn.tasks.benchmark.step import benchmark_step

logger = logging.getLogger(__name__)

SUITES: Mapping[str, Callable[[BenchmarkConfig], Report]] = {
    "loader": benchmark_loader,
    "step": benchmark_step,
    "heatmaps": benchmark_heatmaps,
    "evaluation": benchmark_evaluation,
    "scaling": benchmark_scaling,
    "startup": benchmark_startup,
}


def _commit() -> str:
    """Of the code that runs, "+" if it was changed since; "unknown" outside a repository."""
    folder = Path(__file__).parent
    known = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(  # noqa: S603 - no word of it is from outside
            known, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def benchmark(config: BenchmarkConfig) -> Report:
    """Runs a suite, shows its tables and writes them as JSON.

    Raises:
        UserError: what is to be measured cannot be built.
    """
    report = SUITES[config.suite](config)
    report.show()
    report.write(Path(config.out))
    logger.info("written: %s", config.out)
    if config.history is not None:
        commit, day = _commit(), datetime.now(UTC).date().isoformat()
        report.append_to(Path(config.history), commit=commit, day=day)
        logger.info(
            "added to %s: %d figures of commit %s", config.history, len(report.figures), commit
        )
    return report
