"""Train a CPN. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.schema import TrainConfig
from cpn.process.interruption import listen_for_stop


@script("train", TrainConfig)
def main(config: TrainConfig) -> None:
    """Train a CPN."""
    listen_for_stop()
    from cpn.tasks.train import train  # noqa: PLC0415 - --help must not wait for torch

    train(config)


if __name__ == "__main__":
    main()
