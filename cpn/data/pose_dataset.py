"""Persons as a torch data set: decode, crop, augment."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from cpn.data.epoch_batches import Part
from cpn.data.image_files import PhotoError, read_annotated_image
from cpn.data.persons import PersonInstance, PersonInstances
from cpn.data.sample import PoseSample
from cpn.data.skipped_photos import SkippedPhotos, Unreadable
from cpn.data.transforms import WHOLE_PHOTO, TransformedPerson
from cpn.errors import UserError
from cpn.geometry.crop import Placement

# Keeps the random streams of stand-ins apart from those of samples, whose second key word is below
# 2^62, and of the epochs' orders.
STAND_IN_STREAM = 1 << 62
MAX_STAND_INS = 100


class Transform(Protocol):
    """Photo and person -> crop, normally a `PersonTransform`."""

    @property
    def input_hw(self) -> tuple[int, int]:
        """(H, W) of every crop."""
        ...

    def __call__(
        self,
        image_rgb: npt.NDArray[np.uint8],
        instance: PersonInstance,
        rng: np.random.Generator,
        *,
        out: npt.NDArray[np.uint8] | None = None,
        placement: Placement = WHOLE_PHOTO,
    ) -> TransformedPerson:
        """The crop of one person, in `out` if given; all randomness comes from `rng`.

        The image may be a part of the photo, as `placement` says.
        """
        ...


class PersonImages(Protocol):
    """Gives the pixels that a person is cropped from: of its photo, or of a part of that."""

    def read(self, instance: PersonInstance) -> tuple[npt.NDArray[np.uint8], Placement]:
        """(h, w, 3) or (h, w, 4) uint8, see `warp_crop`, and where in the photo they are."""
        ...


class Photos:
    """Persons' photos, decoded when they are needed."""

    def __init__(self) -> None:
        self._last: tuple[Path, npt.NDArray[np.uint8]] | None = None

    def read(self, instance: PersonInstance) -> tuple[npt.NDArray[np.uint8], Placement]:
        """Decoded once for people who follow each other, as those of a photo do in evaluation."""
        if self._last is None or self._last[0] != instance.image_path:
            self._last = None  # its memory, still in the processor's cache, takes the next
            self._last = instance.image_path, read_annotated_image(instance)
        return self._last[1], WHOLE_PHOTO


class PoseDataset(Dataset[PoseSample]):
    """`dataset[epoch, index]` is person `index`, augmented as in `epoch`.

    A sample is a function of (seed, epoch, index) alone: which worker or rank makes it, and after
    which others, changes nothing.

    Args:
        instances: the persons.
        transform: makes the crops.
        seed: of the augmentation, 0 or more.
        images: what they are cropped from; None: their photos.
        skipped: to be told, by who loads the samples, of people whose photos cannot be used and for
            whom others stand in; None: they are errors.
        parts: of the persons, of which an epoch draws so many; none: it has everybody.
    """

    def __init__(
        self,
        instances: PersonInstances,
        transform: Transform,
        *,
        seed: int = 0,
        images: PersonImages | None = None,
        skipped: SkippedPhotos | None = None,
        parts: Sequence[Part] = (),
    ) -> None:
        self.instances = instances
        self.transform = transform
        self.seed = seed
        self.images = images or Photos()
        self.skipped = skipped
        self.parts = parts

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, key: tuple[int, int]) -> PoseSample:
        return self.sample(*key)

    def sample(
        self,
        epoch: int,
        index: int,
        *,
        out: npt.NDArray[np.uint8] | None = None,
        unreadable: list[Unreadable] | None = None,
    ) -> PoseSample:
        """`self[epoch, index]`, with its crop in memory that is there already.

        Args:
            epoch: from 0.
            index: of the person.
            out: (H, W, 3) uint8; None: new memory.
            unreadable: takes the person if its photo cannot be used; another one, who depends on
                (seed, epoch, index) alone, then stands in. None: that is an error.

        Raises:
            PhotoError: the photo cannot be used.
            UserError: nor can those of many stand-ins.
        """
        random = sample_generator(self.seed, epoch, index)
        instance, pixels, placement = self._read(epoch, index, unreadable)
        person = self.transform(pixels, instance, random, out=out, placement=placement)
        return PoseSample(
            crop=person.crop,
            points=person.points,
            visibility=person.visibility,
            image_to_crop=person.matrix,
            instance_id=instance.annotation_id,
            image_id=instance.image_id,
            box_score=instance.box_score,
            box_area=float(instance.box_xywh[2] * instance.box_xywh[3]),
            colour=person.colour,
            holes=person.holes,
        )

    def _read(
        self, epoch: int, index: int, unreadable: list[Unreadable] | None
    ) -> tuple[PersonInstance, npt.NDArray[np.uint8], Placement]:
        """The first person whose photo can be used, the one asked for or a stand-in."""
        for person in chain([index], self._stand_ins(epoch, index)):
            instance = self.instances[person]
            try:
                return instance, *self.images.read(instance)
            except PhotoError as error:
                if unreadable is None:
                    raise
                path = str(instance.image_path)
                unreadable.append(Unreadable(person, path, error.reason, str(error)))
        raise UserError(
            f"none of {MAX_STAND_INS} photos that were to stand in for an unreadable one can be"
            f" read, the last one: {unreadable[-1].message if unreadable else ''}"
        )

    def _stand_ins(self, epoch: int, index: int) -> Iterator[int]:
        random = sample_generator(self.seed, epoch, index, stream=STAND_IN_STREAM)
        for _ in range(MAX_STAND_INS):
            yield int(random.integers(len(self)))


def sample_generator(seed: int, epoch: int, index: int, *, stream: int = 0) -> np.random.Generator:
    """An independent random stream for every (seed, epoch, index).

    Philox is made for this: different keys give unrelated streams. Epochs below 2^30, indices below
    2^32.
    """
    key = np.array([seed, stream | (epoch << 32) | index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
