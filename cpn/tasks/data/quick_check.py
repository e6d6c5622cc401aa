"""What `train` looks at before its first step; `scripts/check_data.py` looks at everything."""

import logging

from cpn.config.schema import TrainConfig
from cpn.data.annotations import PersonAnnotations
from cpn.data.inspection import inspect_training_set
from cpn.errors import UserError

logger = logging.getLogger(__name__)


def check_quickly(config: TrainConfig, train: PersonAnnotations, val: PersonAnnotations) -> None:
    """Warns of what will cost accuracy; says in one line that nothing was found.

    Args:
        config: of the training.
        train: who is trained on.
        val: who is evaluated on; detections have no keypoints to look at, and are not looked at.

    Raises:
        UserError: what was read cannot be trained on.
    """
    annotated = val if config.boxes == "ground_truth" else None
    # With data.on_error=skip the loader counts the photos that it cannot use.
    photos = config.data.cache is None and config.data.on_error == "error"
    findings = inspect_training_set(train, annotated, train_photos=photos)
    for finding in findings:
        if finding.severity == "error":
            raise UserError(f"{finding.text} (python scripts/check_data.py tells everything)")
    warnings = [finding for finding in findings if finding.severity == "warning"]
    for finding in warnings:
        logger.warning("data: %s", finding.text)
    if warnings:
        logger.info("data: see python scripts/check_data.py with the same data=... and data.*")
    else:
        logger.info("data: a quick look found nothing wrong; scripts/check_data.py reads it all")
