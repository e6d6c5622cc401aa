"""Describe a model file in Markdown. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.model_card_schema import ModelCardConfig


@script("model_card", ModelCardConfig)
def main(config: ModelCardConfig) -> None:
    """Describe a model file in Markdown."""
    from cpn.tasks.model_card import write_model_card  # noqa: PLC0415 - --help must not wait for torch

    write_model_card(config)


if __name__ == "__main__":
    main()
