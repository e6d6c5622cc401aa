"""A page on this machine to try a model with one's own photos. Run with --help for the options."""

from cpn.command_line.load import script
from cpn.config.demo_schema import DemoConfig


@script("demo", DemoConfig)
def main(config: DemoConfig) -> None:
    """A page on this machine to try a model with one's own photos."""
    from cpn.tasks.demo import demo  # noqa: PLC0415 - --help must not wait for torch

    demo(config)


if __name__ == "__main__":
    main()
