"""Photos, a video or a camera in, keypoints and pictures out. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.predict_schema import PredictConfig
from cpn.process.interruption import listen_for_stop


@script("predict", PredictConfig)
def main(config: PredictConfig) -> None:
    """Photos, a video or a camera in, keypoints and pictures out."""
    listen_for_stop()
    from cpn.tasks.predict import predict  # noqa: PLC0415 - --help must not wait for torch

    predict(config)


if __name__ == "__main__":
    main()
