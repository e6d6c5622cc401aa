"""Train a CPN. Run with --help for the options."""

from cpn.config.load import script
from cpn.config.schema import TrainConfig


@script("train", TrainConfig)
def main(config: TrainConfig) -> None:
    """Train a CPN."""
    from cpn.tasks.train import train  # noqa: PLC0415 - --help must not wait for torch

    train(config)


if __name__ == "__main__":
    main()
