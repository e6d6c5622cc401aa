"""Cut the training people out of their photos, once. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.schema import PrepareDataConfig


@script("prepare_data", PrepareDataConfig)
def main(config: PrepareDataConfig) -> None:
    """Write a crop cache, with which training reads no photos."""
    from cpn.tasks.prepare_data import prepare_data  # noqa: PLC0415 - --help must not wait for torch

    prepare_data(config)


if __name__ == "__main__":
    main()
