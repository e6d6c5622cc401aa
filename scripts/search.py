"""Search the best combination of what studies vary. Run with --help for the options."""

from cpn.command_line.load import Composer, script
from cpn.config.schema import TrainConfig
from cpn.config.search_schema import SearchConfig
from cpn.config.study_schema import AblateConfig
from cpn.process.interruption import listen_for_stop


@script("search", SearchConfig)
def main(config: SearchConfig) -> None:
    """Search the best combination of what studies vary."""
    listen_for_stop()
    from cpn.tasks.search import search  # noqa: PLC0415 - --help must not wait for torch

    search(config, Composer("train", TrainConfig), Composer("ablate", AblateConfig))


if __name__ == "__main__":
    main()
