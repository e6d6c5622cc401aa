"""Measures what a run costs, part by part; one module per suite."""

import logging
from collections.abc import Callable, Mapping
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


def benchmark(config: BenchmarkConfig) -> Report:
    """Runs a suite, shows its tables and writes them as JSON.

    Raises:
        UserError: what is to be measured cannot be built.
    """
    report = SUITES[config.suite](config)
    report.show()
    report.write(Path(config.out))
    logger.info("written: %s", config.out)
    return report
