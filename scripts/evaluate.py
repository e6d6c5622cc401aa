"""Evaluate a checkpoint, or score a COCO results file. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.evaluation_schema import EvaluateConfig


@script("evaluate", EvaluateConfig, tabulated=True)
def main(config: EvaluateConfig) -> dict[str, float]:
    """Evaluate a checkpoint, or score a COCO results file."""
    from cpn.tasks.evaluate import evaluate  # noqa: PLC0415 - --help must not wait for torch

    return evaluate(config)


if __name__ == "__main__":
    main()
