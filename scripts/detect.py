"""Find the people in a data set's photos. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.detection_schema import DetectConfig


@script("detect", DetectConfig, tabulated=True)
def main(config: DetectConfig) -> dict[str, float]:
    """Find the people in a data set's photos."""
    from cpn.tasks.detect import detect  # noqa: PLC0415 - --help must not wait for torch

    return detect(config)


if __name__ == "__main__":
    main()
