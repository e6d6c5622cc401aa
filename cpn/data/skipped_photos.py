"""The training people whose photos turned out to be unreadable: told once, counted, limited."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, Self

from cpn.coco.records import describe_dropped
from cpn.data.image_files import MISSING
from cpn.data.sample import PoseBatch
from cpn.data.shared_batches import Parcel
from cpn.data.standards import Gaps
from cpn.errors import UserError

logger = logging.getLogger(__name__)


class Unreadable(NamedTuple):
    """A person whose photo cannot be used, and why.

    Attributes:
        person: position in the data set.
        path: of the photo.
        reason: in a few words, for counts.
        message: the whole line.
    """

    person: int
    path: str
    reason: str
    message: str


class WithUnreadable:
    """A batch on its way from a worker, some of whose people stand in for unreadable ones."""

    def __init__(self, made: PoseBatch | Parcel, unreadable: list[Unreadable]) -> None:
        self.made = made
        self.unreadable = unreadable

    def pin_memory(self) -> Self:
        """The same in page-locked memory; torch's pinning thread calls this."""
        return type(self)(self.made.pin_memory(), self.unreadable)


class SkippedPhotos:
    """Counts people, not samples: who is met again in a later epoch is counted once.

    Args:
        max_skipped: highest share of the people, see `Standards`.
        total: number of people, those included who were left out before.
        gaps: what is known to be broken.
        source: the annotation file, for messages.
    """

    def __init__(self, *, max_skipped: float, total: int, gaps: Gaps, source: str) -> None:
        self._max_skipped = max_skipped
        self._total = total
        self._left_out = gaps.left_out
        self._source = source
        self._reasons = dict.fromkeys(gaps.missing, MISSING)
        self._told: set[str] = set()
        self._new: list[Unreadable] = []

    @property
    def counts(self) -> Counter[str]:
        """How many people were replaced so far, by reason."""
        return Counter(self._reasons.values())

    def add(self, found: Iterable[Unreadable]) -> None:
        """Takes note of people who were replaced; each photo is told once.

        Raises:
            UserError: there are more of them than may be skipped.
        """
        for one in found:
            if one.person not in self._reasons:
                self._new.append(one)
            self._reasons[one.person] = one.reason
            if one.path not in self._told:
                self._told.add(one.path)
                logger.warning("%s (another person stands in)", one.message)
        self._refuse_too_many()

    def exchange(self, gather: Callable[[list[Unreadable]], list[list[Unreadable]]]) -> None:
        """Makes every rank know what any has found; to be called by all, between two epochs.

        Args:
            gather: gives every rank's list, as `DistributedContext.all_gather_object`.

        Raises:
            UserError: as `add`, on all ranks.
        """
        new, self._new = self._new, []
        for found in gather(new):
            for one in found:
                self._reasons[one.person] = one.reason
                self._told.add(one.path)
        if new:
            logger.info(
                "%s: photos replaced so far: %s", self._source, describe_dropped(self.counts)
            )
        self._refuse_too_many()

    def _refuse_too_many(self) -> None:
        skipped = len(self._reasons) + self._left_out
        if skipped > self._max_skipped * self._total:
            raise UserError(
                f"{self._source}: {skipped} of {self._total} people cannot be trained on, more than"
                f" data.max_skipped={self._max_skipped:g} of them: {self._left_out} x left out"
                f" before, {describe_dropped(self.counts)}; mend these photos or raise that"
            )
