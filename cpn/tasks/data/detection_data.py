"""From a detector's configuration to photos and loaders."""

from pathlib import Path

from cpn.config.detection_schema import PhotoConfig, TrainDetectorConfig
from cpn.data.annotated_photos import EVERY_PHOTO, AnnotatedPhotos, Wanted, read_annotated_photos
from cpn.data.photo_batches import PhotoBatch, training_photos
from cpn.data.photo_transform import PhotoAugmentation, PhotoTransform
from cpn.data.worker_loader import WorkerLoader
from cpn.engine.distributed import DistributedContext
from cpn.skeleton import skeleton_from_category
from cpn.tasks.data.datasets import annotation_path, flip_pairs


def read_training_photos(config: TrainDetectorConfig) -> AnnotatedPhotos:
    """The photos to train on, with what the heads need of their people.

    Raises:
        UserError: a file is missing or broken, or lacks what a head needs.
    """
    mask_rcnn = config.detector.mask_rcnn
    keypoint = None if mask_rcnn is None else mask_rcnn.keypoint
    split = config.data.train
    return read_annotated_photos(
        annotation_path(split),
        Path(split.images),
        wanted=Wanted(
            masks=mask_rcnn is not None and mask_rcnn.mask is not None,
            num_keypoints=0 if keypoint is None else keypoint.number,
            min_keypoints=config.data.min_keypoints,
            empty_photos=config.photo.empty_photos,
        ),
        limit=split.limit,
        max_megapixels=config.data.max_megapixels,
    )


def read_validation_photos(config: TrainDetectorConfig) -> AnnotatedPhotos:
    """All photos to evaluate on, those without people too: what is found there is wrong.

    Raises:
        UserError: a file is missing or broken.
    """
    split = config.data.val
    return read_annotated_photos(
        annotation_path(split),
        Path(split.images),
        wanted=EVERY_PHOTO,
        limit=split.limit,
        max_megapixels=config.data.max_megapixels,
    )


def training_photo_batches(
    photos: AnnotatedPhotos, config: TrainDetectorConfig, context: DistributedContext
) -> WorkerLoader[PhotoBatch]:
    """Shuffled, varied photos: a function of (seed, epoch) whatever the ranks and workers.

    Raises:
        UserError: the batch does not fit the photos or the ranks, or the keypoints have no pairs.
    """
    mask_rcnn = config.detector.mask_rcnn
    transform = PhotoTransform(
        (config.photo.height, config.photo.width),
        photo_augmentation(config.photo),
        flip_permutation=_flip_permutation(photos, config),
        masks=mask_rcnn is not None and mask_rcnn.mask is not None,
    )
    return training_photos(
        photos,
        transform,
        scales=config.photo.scales,
        global_batch=config.engine.batch_size // config.engine.accumulate,
        seed=config.seed,
        context=context,
        num_workers=config.data.workers,
    )


def photo_augmentation(config: PhotoConfig) -> PhotoAugmentation:
    """How training photos vary."""
    low, high = config.scale_range
    return PhotoAugmentation(
        scale_range=(low, high),
        flip_probability=config.flip_probability,
        min_visible=config.min_visible,
        brightness=config.brightness,
        contrast=config.contrast,
        saturation=config.saturation,
    )


def _flip_permutation(photos: AnnotatedPhotos, config: TrainDetectorConfig) -> tuple[int, ...]:
    names = photos.keypoint_names
    if not photos.keypoints.shape[1]:
        return ()
    skeleton = skeleton_from_category(
        {"keypoints": names, "flip_pairs": photos.flip_pairs},
        source=str(photos.source),
        sigmas=[1.0] * len(names),  # of OKS, which no detector is trained or scored by
        flip_pairs=flip_pairs(config.data),
    )
    return tuple(skeleton.flip_permutation)
