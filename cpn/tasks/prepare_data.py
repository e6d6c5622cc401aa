"""Writes a crop cache of the training people."""

import logging
from pathlib import Path

from cpn.config.schema import PrepareDataConfig
from cpn.data.crop_cache import CacheSettings, CacheSummary, write_cache
from cpn.errors import UserError
from cpn.files.remote import is_remote
from cpn.tasks.data.datasets import crop_rule, read_people_with_photos, training_transform

logger = logging.getLogger(__name__)


def prepare_data(config: PrepareDataConfig) -> CacheSummary:
    """Makes the cache that `data.cache=<out>` reads, or what is missing of it.

    Raises:
        UserError: the people cannot be read, or the folder holds another cache.
    """
    if is_remote(config.out):
        raise UserError(
            f"out={config.out}: write the cache to a folder and copy that to the store, the index "
            "last"
        )
    people = read_people_with_photos(config.data)
    settings = CacheSettings(
        encoding=config.encoding,
        jpeg_quality=config.jpeg_quality,
        people_per_shard=config.people_per_shard,
        rule=crop_rule(config),
    )
    summary = write_cache(
        Path(config.out),
        people.instances,
        training_transform(people.skeleton, config).crop,
        settings,
        workers=config.data.workers,
    )
    logger.info(
        "%s: %d people in %d shards (%d made now), %.1f MiB; train with data.cache=%s",
        config.out,
        len(people.instances),
        summary.shards,
        summary.made,
        summary.size / 2**20,
        config.out,
    )
    return summary
