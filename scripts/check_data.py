"""Look through a data set before training on it. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.data_schema import CheckDataConfig


@script("check_data", CheckDataConfig)
def main(config: CheckDataConfig) -> None:
    """Look through a data set; exit code 2 where it cannot be trained on."""
    from cpn.tasks.check_data import check_data  # noqa: PLC0415 - --help must not wait for torch

    if not check_data(config):
        raise SystemExit(2)


if __name__ == "__main__":
    main()
