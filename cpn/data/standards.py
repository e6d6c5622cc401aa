"""What a data set must come up to, and what happens to that which does not."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from cpn.coco.broken import BrokenRecords
from cpn.coco.records import describe_dropped
from cpn.data.image_files import MAX_MEGAPIXELS, check_sizes, find_photos
from cpn.data.persons import PersonInstances
from cpn.errors import UserError

logger = logging.getLogger(__name__)


class Standards(NamedTuple):
    """What a data set must come up to.

    Attributes:
        max_skipped: highest share of its people that may be left out because their record or photo
            is broken; None: the first broken one is an error.
        max_megapixels: most millions of pixels of a photo.
        needs_photos: every photo must be there.
    """

    max_skipped: float | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    needs_photos: bool = True


class Gaps(NamedTuple):
    """What of a data set is broken.

    Attributes:
        counts: number of records and photos, by reason.
        left_out: number of people who are left out.
        missing: positions of the people who are kept but have no photo.
    """

    counts: Mapping[str, int] = MappingProxyType({})
    left_out: int = 0
    missing: frozenset[int] = frozenset()


def with_usable_photos(
    instances: PersonInstances, source: Path, standards: Standards, broken: BrokenRecords
) -> tuple[PersonInstances, frozenset[int]]:
    """The persons whose photos are not too large, and the positions of those whose are missing.

    The latter stay: who is trained on in which order should not depend on the disk.

    Args:
        instances: N persons.
        source: the annotation file, for messages.
        standards: what is too large, and whether the photos are needed at all.
        broken: is told of the others.

    Raises:
        FileNotFoundError: the image folder does not exist.
        UserError: as `broken` does.
    """
    usable = instances.keep(check_sizes(instances, source, standards.max_megapixels, broken))
    if not standards.needs_photos:
        return usable, frozenset()
    missing = np.flatnonzero(~find_photos(usable, source, broken))
    return usable, frozenset(missing.tolist())


def refuse_too_many(
    broken: BrokenRecords, left_out: int, total: int, source: Path, standards: Standards
) -> None:
    """Tells what was left out as broken.

    Args:
        broken: the counts.
        left_out: how many people that are, those without a photo included.
        total: how many there were.
        source: the annotation file.
        standards: how many may be left out.

    Raises:
        UserError: more than that.
    """
    if standards.max_skipped is None or not broken.counts:
        return
    text = f"{source}: {left_out} of {total} people cannot be used"
    counts, first = describe_dropped(broken.counts), "; ".join(broken.first.values())
    if left_out > standards.max_skipped * total:
        raise UserError(
            f"{text}, more than data.max_skipped={standards.max_skipped:g} of them: {counts}; mend"
            f" the file or raise that. First of each: {first}"
        )
    logger.warning("%s: %s. First of each: %s", text, counts, first)
