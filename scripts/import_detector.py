"""Convert a torchvision detector. Run with --help for the options."""

from cpn.config.detector_schema import ImportDetectorConfig
from cpn.config.load import script


@script("import_detector", ImportDetectorConfig)
def main(config: ImportDetectorConfig) -> None:
    """Convert a torchvision detector."""
    from cpn.tasks.import_detector import import_detector  # noqa: PLC0415 - --help must not wait for torch

    import_detector(config)


if __name__ == "__main__":
    main()
