"""Run an ablation study. Run with --help for the options."""

from cpn.command_line.load import Composer, script
from cpn.config.schema import TrainConfig
from cpn.config.study_schema import AblateConfig
from cpn.process.interruption import listen_for_stop


@script("ablate", AblateConfig)
def main(config: AblateConfig) -> None:
    """Run an ablation study."""
    listen_for_stop()
    from cpn.tasks.ablate import ablate  # noqa: PLC0415 - --help must not wait for torch
    from cpn.tasks.ablation.subjects import POSES  # noqa: PLC0415

    ablate(config, Composer("train", TrainConfig), POSES)


if __name__ == "__main__":
    main()
