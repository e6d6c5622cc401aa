"""Convert a pytorch-cpn checkpoint. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.schema import ImportCheckpointConfig


@script("import_checkpoint", ImportCheckpointConfig)
def main(config: ImportCheckpointConfig) -> None:
    """Convert a pytorch-cpn checkpoint."""
    from cpn.tasks.import_checkpoint import import_checkpoint  # noqa: PLC0415 - --help must not wait for torch

    import_checkpoint(config)


if __name__ == "__main__":
    main()
