"""Make person boxes as a detector of a chosen quality gives them. Run with --help."""

from cpn.command_line.load import script
from cpn.config.data_schema import MakeDetectionsConfig


@script("make_detections", MakeDetectionsConfig)
def main(config: MakeDetectionsConfig) -> None:
    """Make person boxes as a detector of a chosen quality gives them."""
    from cpn.tasks.make_detections import make_detections  # noqa: PLC0415 - --help is to be fast

    make_detections(config)


if __name__ == "__main__":
    main()
