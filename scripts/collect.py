"""Make the table of a study from runs. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.study_schema import CollectConfig
from cpn.process.interruption import listen_for_stop


@script("collect", CollectConfig)
def main(config: CollectConfig) -> None:
    """Make the table of a study from runs that are trained already."""
    listen_for_stop()
    from cpn.tasks.collect import collect  # noqa: PLC0415 - --help must not wait for torch

    collect(config)


if __name__ == "__main__":
    main()
