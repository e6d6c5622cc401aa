"""Generate people as a COCO keypoint data set. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.data_schema import MakeSyntheticConfig


@script("make_synthetic", MakeSyntheticConfig)
def main(config: MakeSyntheticConfig) -> None:
    """Generate people as a COCO keypoint data set."""
    from cpn.tasks.make_synthetic import make_synthetic  # noqa: PLC0415 - --help must not wait for torch

    make_synthetic(config)


if __name__ == "__main__":
    main()
