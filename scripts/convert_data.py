"""Write annotations of another format as COCO keypoint JSON. Run with --help."""

from cpn.command_line.load import script
from cpn.config.convert_schema import ConvertDataConfig


@script("convert_data", ConvertDataConfig)
def main(config: ConvertDataConfig) -> None:
    """Write annotations of another format as COCO keypoint JSON."""
    from cpn.tasks.convert_data import convert_data  # noqa: PLC0415 - --help must not wait

    convert_data(config)


if __name__ == "__main__":
    main()
