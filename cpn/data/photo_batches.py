"""Photos for detectors: what workers send, and loaders whose batches depend on seed and epoch."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cpn.data.annotated_photos import AnnotatedPhotos
from cpn.data.epoch_batches import EpochBatchSampler, Key
from cpn.data.image_files import read_annotated_image
from cpn.data.photo_transform import PhotoTransform, TransformedPhoto
from cpn.data.pose_dataset import sample_generator
from cpn.data.worker_loader import WorkerLoader
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError

# Keeps the random stream of a batch's scale apart from those of photos and of stand-ins.
SCALE_STREAM = 3 << 61
# Every convolution of a usual backbone halves these sides without a rest.
MULTIPLE = 32
PERSON_LABEL = 1  # 0 is the background, as in torchvision's detectors and in COCO

Uint8Array = npt.NDArray[np.uint8]


class PhotoBatch(NamedTuple):
    """N training photos with P people in all.

    Attributes:
        canvas: (N, H, W, 3) uint8 RGB; a photo is at its upper left.
        sizes_hw: (N, 2) int64 of the photos.
        image_ids: (N,) int64.
        counts: (N,) int64 people of each photo.
        boxes_xyxy: (P, 4) float32, edge frame of their photo.
        keypoints: (P, K, 3) float32.
        masks: (M,) uint8, the pixels of everybody's h x w mask; (0, 0) where none are wanted.
    """

    canvas: Tensor
    sizes_hw: Tensor
    image_ids: Tensor
    counts: Tensor
    boxes_xyxy: Tensor
    keypoints: Tensor
    masks: Tensor

    @property
    def num_samples(self) -> int:
        """N; `len()` of a batch is its number of fields."""
        return len(self.canvas)

    def pin_memory(self) -> Self:
        """A copy in page-locked memory, which torch keeps and uses again."""
        return type(self)(*(field.pin_memory() for field in self))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The batch on a device; sizes and counts stay where the loop over them runs."""
        small = {"sizes_hw", "counts"}
        return type(self)(
            *(
                field if name in small else field.to(device, non_blocking=non_blocking)
                for name, field in zip(self._fields, self, strict=True)
            )
        )

    def images(self) -> list[Tensor]:
        """(3, h, w) float32 in 0..1 of each photo."""
        sizes = self.sizes_hw.tolist()
        return [
            image[:height, :width].permute(2, 0, 1).float() / 255
            for image, (height, width) in zip(self.canvas, sizes, strict=True)
        ]

    def targets(self) -> list[dict[str, Tensor]]:
        """What is to be found in each photo, as torchvision's detectors take it.

        Each has boxes (P, 4) and labels (P,); masks (P, h, w) uint8 and keypoints (P, K, 3), here
        in the edge frame too, where the batch has them.
        """
        # torchvision reads points as boxes, in the edge frame.
        edge_keypoints = self.keypoints + self.keypoints.new_tensor([0.5, 0.5, 0])
        targets, person, pixel = [], 0, 0
        for (height, width), count in zip(
            self.sizes_hw.tolist(), self.counts.tolist(), strict=True
        ):
            end, pixels = person + count, count * height * width
            boxes = self.boxes_xyxy[person:end]
            target = {
                "boxes": boxes,
                "labels": torch.full((count,), PERSON_LABEL, device=boxes.device),
            }
            if self.keypoints.shape[1]:
                target["keypoints"] = edge_keypoints[person:end]
            if self.masks.ndim == 1:
                target["masks"] = self.masks[pixel : pixel + pixels].view(count, height, width)
            targets.append(target)
            person, pixel = end, pixel + pixels
        return targets


def collate_photos(
    photos: Sequence[TransformedPhoto], image_ids: Sequence[int], canvas_hw: tuple[int, int]
) -> PhotoBatch:
    """Puts photos of at most the canvas' size on canvases."""
    canvas = torch.zeros((len(photos), *canvas_hw, 3), dtype=torch.uint8)
    for place, photo in zip(canvas.numpy(), photos, strict=True):
        height, width = photo.pixels.shape[:2]
        place[:height, :width] = photo.pixels
    return PhotoBatch(
        canvas=canvas,
        sizes_hw=torch.tensor([photo.pixels.shape[:2] for photo in photos]),
        image_ids=torch.tensor(image_ids),
        counts=torch.tensor([len(photo.boxes_xyxy) for photo in photos]),
        boxes_xyxy=torch.from_numpy(np.concatenate([photo.boxes_xyxy for photo in photos])),
        keypoints=torch.from_numpy(np.concatenate([photo.keypoints for photo in photos])),
        masks=torch.from_numpy(_joined_masks(photos)),
    )


def _joined_masks(photos: Sequence[TransformedPhoto]) -> Uint8Array:
    if any(photo.masks is None for photo in photos):
        return np.zeros((0, 0), dtype=np.uint8)
    return np.concatenate([photo.masks.ravel() for photo in photos if photo.masks is not None])


class ScaledBatchSampler(EpochBatchSampler):
    """Batches of one rank with the scale of their canvas, the same one on every rank.

    Args:
        num_samples: as for `EpochBatchSampler`, and so are the other arguments.
        scales: factors on the canvas, of which every global batch draws one by (seed, epoch).
    """

    def __init__(self, num_samples: int, *, scales: Sequence[float], **settings: Any) -> None:  # noqa: ANN401
        super().__init__(num_samples, **settings)
        self.scales = list(scales)

    def scaled(self) -> Iterator[tuple[list[Key], float]]:
        """(epoch, index) of each photo of a batch, and the batch's scale."""
        first, epoch = self.first_batch, self.epoch
        for number, keys in enumerate(self, start=first):
            rng = sample_generator(self.seed, epoch, number, stream=SCALE_STREAM)
            yield keys, self.scales[int(rng.integers(len(self.scales)))]


class _Scaled:
    """A sampler's batches with their scales, as a loader iterates over them."""

    def __init__(self, sampler: ScaledBatchSampler) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[tuple[list[Key], float]]:
        return self._sampler.scaled()


class _TrainingPhotos(Dataset[Any]):
    """Makes a whole batch in the worker, or hands over the user's error instead of it."""

    def __init__(self, photos: AnnotatedPhotos, transform: PhotoTransform, seed: int) -> None:
        self._photos, self._transform, self._seed = photos, transform, seed

    def __getitems__(self, work: tuple[list[Key], float]) -> PhotoBatch | UserError:
        keys, scale = work
        canvas_hw = scaled_canvas(self._transform.canvas_hw, scale)
        try:
            made = [self._made(*key, canvas_hw) for key in keys]
        except UserError as error:
            return error
        ids = [int(self._photos.image_ids[index]) for _, index in keys]
        return collate_photos(made, ids, canvas_hw)

    def _made(self, epoch: int, index: int, canvas_hw: tuple[int, int]) -> TransformedPhoto:
        photo = self._photos[index]
        rng = sample_generator(self._seed, epoch, index)
        return self._transform(read_annotated_image(photo), photo, rng, canvas_hw=canvas_hw)


def scaled_canvas(canvas_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """(H, W) times the scale, at the next multiples of 32."""
    height, width = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in canvas_hw)
    return height, width


def training_photos(
    photos: AnnotatedPhotos,
    transform: PhotoTransform,
    *,
    scales: Sequence[float],
    global_batch: int,
    seed: int,
    context: DistributedContext,
    num_workers: int = 0,
) -> WorkerLoader[PhotoBatch]:
    """Shuffled batches, of which this rank gets its share of photos; see `EpochBatchSampler`.

    Raises:
        UserError: the batch does not fit the photos or the number of processes.
    """
    sampler = ScaledBatchSampler(
        len(photos),
        scales=scales,
        global_batch=global_batch,
        rank=context.rank,
        world_size=context.world_size,
        seed=seed,
    )
    return WorkerLoader(
        _TrainingPhotos(photos, transform, seed),
        _Scaled(sampler),
        sampler,
        num_workers=num_workers,
        pin_memory=context.device.type == "cuda",
    )


class WholePhotos(NamedTuple):
    """Some photos of one size as they are stored: (h, w, 3) uint8 RGB each."""

    image_ids: list[int]
    images: list[Uint8Array]


class _StoredPhotos(Dataset[Any]):
    def __init__(self, photos: AnnotatedPhotos) -> None:
        self._photos = photos

    def __getitems__(self, indices: list[int]) -> WholePhotos | UserError:
        photos = [self._photos[index] for index in indices]
        try:
            images = [np.ascontiguousarray(read_annotated_image(each)[..., :3]) for each in photos]
        except UserError as error:
            return error
        return WholePhotos([photo.image_id for photo in photos], images)


def whole_photos(
    photos: AnnotatedPhotos,
    *,
    batch_size: int,
    context: DistributedContext,
    num_workers: int = 0,
) -> WorkerLoader[WholePhotos]:
    """Every photo exactly once over all ranks, in batches of one size.

    So nothing is padded, and what a network finds does not depend on the batch.
    """
    order = np.lexsort((np.arange(len(photos)), *photos.sizes_hw.T))
    rank, ranks = context.rank, context.world_size
    first, end = (len(photos) * part // ranks for part in (rank, rank + 1))
    share = order[first:end]
    cuts = np.flatnonzero(np.diff(photos.sizes_hw[share], axis=0).any(axis=1)) + 1
    batches = [
        same[start : start + batch_size].tolist()
        for same in np.split(share, cuts)
        for start in range(0, len(same), batch_size)
    ]
    return WorkerLoader(_StoredPhotos(photos), batches, batches, num_workers=num_workers)
