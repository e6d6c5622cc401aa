"""Train a person detector. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.process.interruption import listen_for_stop


@script("train_detector", TrainDetectorConfig)
def main(config: TrainDetectorConfig) -> None:
    """Train a person detector."""
    listen_for_stop()
    from cpn.tasks.train_detector import train_detector  # noqa: PLC0415 - --help must not wait

    train_detector(config)


if __name__ == "__main__":
    main()
