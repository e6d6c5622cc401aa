"""Compare two COCO results files. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.evaluation_schema import CompareConfig


@script("compare", CompareConfig)
def main(config: CompareConfig) -> None:
    """Say whether one results file is better than another, by how much, and where."""
    from cpn.tasks.compare import compare  # noqa: PLC0415 - --help must not wait for torch

    compare(config)


if __name__ == "__main__":
    main()
