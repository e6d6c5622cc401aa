"""Photos in, keypoints and pictures out. Run with --help for the options."""

from cpn.config.load import script
from cpn.config.schema import PredictConfig


@script("predict", PredictConfig)
def main(config: PredictConfig) -> None:
    """Photos in, keypoints and pictures out."""
    from cpn.tasks.predict import predict  # noqa: PLC0415 - --help must not wait for torch

    predict(config)


if __name__ == "__main__":
    main()
