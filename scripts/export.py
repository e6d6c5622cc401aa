"""Write a pose network as one graph for another runtime. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.export_schema import ExportConfig


@script("export", ExportConfig)
def main(config: ExportConfig) -> None:
    """Write a pose network as one graph for another runtime."""
    from cpn.tasks.export import export  # noqa: PLC0415 - --help must not wait for torch

    export(config)


if __name__ == "__main__":
    main()
