"""Convert a torchvision detector. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.detector_schema import ImportDetectorConfig


@script("import_detector", ImportDetectorConfig)
def main(config: ImportDetectorConfig) -> None:
    """Convert a torchvision detector."""
    from cpn.tasks.import_detector import import_detector  # noqa: PLC0415 - --help must not wait for torch

    import_detector(config)


if __name__ == "__main__":
    main()
