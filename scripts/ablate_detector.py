"""Run an ablation study of person detectors. Run with --help for the options."""

from cpn.command_line.load import Composer, script
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.study_schema import AblateDetectorConfig
from cpn.process.interruption import listen_for_stop


@script("ablate_detector", AblateDetectorConfig)
def main(config: AblateDetectorConfig) -> None:
    """Run an ablation study of person detectors."""
    listen_for_stop()
    from cpn.tasks.ablate import ablate  # noqa: PLC0415 - --help must not wait for torch
    from cpn.tasks.ablation.subjects import DETECTORS  # noqa: PLC0415

    ablate(config, Composer("train_detector", TrainDetectorConfig), DETECTORS)


if __name__ == "__main__":
    main()
