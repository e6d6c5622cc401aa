"""Measure what a run costs, part by part. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.schema import BenchmarkConfig


@script("benchmark", BenchmarkConfig)
def main(config: BenchmarkConfig) -> None:
    """Measure what a run costs, part by part."""
    from cpn.tasks.benchmark import benchmark  # noqa: PLC0415 - --help must not wait for torch

    benchmark(config)


if __name__ == "__main__":
    main()
