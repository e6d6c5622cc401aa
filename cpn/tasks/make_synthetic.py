"""Writes the generated people."""

import logging
from pathlib import Path

from cpn.config.data_schema import MakeSyntheticConfig
from cpn.data.synthetic import generate_dataset
from cpn.errors import UserError

logger = logging.getLogger(__name__)


def make_synthetic(config: MakeSyntheticConfig) -> None:
    """Generates the train and val splits, each image a function of (seed, split, index).

    A split that is already there is left as it is, so an interrupted call can be repeated.

    Raises:
        UserError: both splits are there.
    """
    out = Path(config.out)
    wanted = {"train": config.train_images, "val": config.val_images}
    missing = [
        split
        for split in wanted
        if not (out / "annotations" / f"person_keypoints_{split}.json").exists()
    ]
    if not missing:
        raise UserError(f"{out} holds a data set already; choose another out=..., or delete it")
    for split in missing:
        summary = generate_dataset(
            out,
            split=split,
            num_images=wanted[split],
            seed=config.seed,
            image_size_hw=(config.height, config.width),
            max_people=config.max_people,
            workers=config.workers,
        )
        logger.info(
            "%s: %d images with %d people in %s (%.0f images/s)",
            split,
            summary.num_images,
            summary.num_people,
            summary.images,
            summary.images_per_second,
        )
