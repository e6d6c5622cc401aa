"""From the data configuration to people and loaders."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cpn.config.data_schema import AugmentConfig, DataConfig, InputConfig, SplitConfig
from cpn.config.schema import TrainConfig
from cpn.data.annotations import (
    PersonAnnotations,
    Standards,
    read_detections,
    read_keypoint_names,
    read_person_annotations,
)
from cpn.data.augmentation import Augmentation
from cpn.data.crop_cache import CropCache, LocalCopies, open_cache
from cpn.data.epoch_batches import Part, ShardWindow
from cpn.data.loaders import PoseLoader, eval_loader, train_loader
from cpn.data.pose_dataset import PoseDataset
from cpn.data.repeated_boxes import suppress_repeated_boxes
from cpn.data.skipped_photos import SkippedPhotos
from cpn.data.transforms import PersonTransform
from cpn.data.worker_loader import PREFETCHED_BATCHES
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError
from cpn.skeleton import COCO_17, Skeleton

logger = logging.getLogger(__name__)


def read_split(
    data: DataConfig, split: SplitConfig, *, for_training: bool, skeleton: Skeleton | None = None
) -> PersonAnnotations:
    """The people of one split.

    Args:
        data: how to read the file.
        split: the file.
        for_training: see `read_person_annotations`; then `data.cache` may stand for the photos, and
            `data.on_error` may be heeded.
        skeleton: the file must have its keypoints, in its order; None: any.

    Raises:
        UserError: a file is missing (with how to make the generated set), broken, or of other
            keypoints.
    """
    path = annotation_path(split)
    if skeleton is not None:
        check_keypoint_names(path, skeleton)
    people = read_person_annotations(
        path,
        Path(split.images),
        sigmas=data.sigmas,
        flip_pairs=flip_pairs(data),
        min_keypoints=data.min_keypoints,
        limit=split.limit,
        for_training=for_training,
        standards=_standards(data, for_training=for_training),
    )
    unknown = set(people.skeleton.keypoint_names) - set(COCO_17.keypoint_names)
    if data.sigmas == "default" and unknown:
        logger.warning(
            "%s: data.sigmas=default: OKS sigmas %s; those of %s were measured by nobody, so the AP"
            " compares with no other",
            *(path, list(people.skeleton.sigmas), ", ".join(sorted(unknown))),
        )
    return people


def read_people_with_photos(data: DataConfig) -> PersonAnnotations:
    """The training people, with their photos even where `data.cache` would stand for these."""
    photos = data.model_copy(update={"cache": None})
    return read_split(photos, photos.train, for_training=True)


def annotation_path(split: SplitConfig) -> Path:
    """The annotation file of a split.

    Raises:
        UserError: it is missing, with how to make the generated set.
    """
    path = Path(split.annotations)
    if not path.is_file():
        way_out = "set data.train.* and data.val.* (or data=...) to your COCO keypoint files"
        if "synthetic" in path.parts:
            way_out = "make the generated set first: python scripts/make_synthetic.py"
        raise UserError(f"no annotation file at {path}; {way_out}")
    return path


def flip_pairs(data: DataConfig) -> list[tuple[str, str]] | None:
    """The given pairs of names; None: by left and right."""
    return None if data.flip_pairs is None else [(a, b) for a, b in data.flip_pairs]


def _standards(data: DataConfig, *, for_training: bool) -> Standards:
    """Evaluation is strict always: whom it left out would be missing from the ground truth."""
    skips = for_training and data.on_error == "skip"
    return Standards(
        max_skipped=data.max_skipped if skips else None,
        max_megapixels=data.max_megapixels,
        needs_photos=not (for_training and data.cache is not None),
    )


def check_keypoint_names(path: Path, skeleton: Skeleton) -> None:
    """Refuses an annotation file whose keypoints are not the skeleton's, in order.

    Raises:
        UserError: with the file and the first difference.
    """
    found, expected = read_keypoint_names(path), skeleton.keypoint_names
    for index, (name, wanted) in enumerate(zip_longest(found, expected, fillvalue="no more")):
        if name != wanted:
            raise UserError(
                f"{path}: keypoint {index + 1} is '{name}', but '{wanted}' in what the model is "
                f"trained on; use a file with the {len(expected)} keypoints {list(expected)}"
            )


def with_boxes(people: PersonAnnotations, config: TrainConfig) -> PersonAnnotations:
    """The people of data.val by the boxes that evaluation is asked to use, repeated ones gone."""
    detections = config.detections
    if detections.file is None:
        return people
    names = people.skeleton.keypoint_names
    found = read_detections(
        Path(detections.file),
        people.path,
        Path(config.data.val.images),
        sigmas=people.skeleton.sigmas,
        flip_pairs=[(names[a], names[b]) for a, b in people.skeleton.flip_pairs],
        score_threshold=detections.score_threshold,
        limit=config.data.val.limit,
        max_megapixels=config.data.max_megapixels,
    )
    kept = suppress_repeated_boxes(
        found.instances,
        method=detections.nms,
        threshold=detections.nms_threshold,
        sigma=detections.nms_sigma,
        floor=detections.nms_floor,
    )
    return replace(found, instances=kept)


def skipped_photos(people: PersonAnnotations, config: TrainConfig) -> SkippedPhotos | None:
    """What counts the people whose photos training cannot read; None: they are errors."""
    if config.data.on_error == "error":
        return None
    return SkippedPhotos(
        max_skipped=config.data.max_skipped,
        total=len(people.instances) + people.gaps.left_out,
        gaps=people.gaps,
        source=str(people.path),
    )


def training_batches(
    people: PersonAnnotations,
    config: TrainConfig,
    context: DistributedContext,
    *,
    skipped: SkippedPhotos | None = None,
    parts: Sequence[Part] = (),
) -> PoseLoader:
    """Shuffled, augmented crops: a function of (seed, epoch) whatever the ranks and workers.

    Args:
        people: to be cropped.
        config: how.
        context: gives each rank its share.
        skipped: counts people whose photos cannot be read; None: they are errors.
        parts: of the people, see `EpochBatchSampler`.

    Raises:
        UserError: the batch does not fit the people or the ranks, or the crop cache does not fit.
    """
    transform = training_transform(people.skeleton, config)
    cache = None
    if config.data.cache is not None:
        cache = _open_cache(config.data.cache, people, config, transform)
    window = None
    if cache is not None and config.data.cache_window is not None:
        window = ShardWindow(cache.shard_numbers, config.data.cache_window)
    return train_loader(
        PoseDataset(
            people.instances,
            transform,
            seed=config.seed,
            images=cache,
            skipped=skipped,
            parts=parts,
        ),
        global_batch=config.engine.batch_size // config.engine.accumulate,
        rank=context.rank,
        world_size=context.world_size,
        num_workers=config.data.workers,
        accumulate=config.engine.accumulate,
        window=window,
        pin_memory=context.device.type == "cuda",
    )


def training_transform(
    skeleton: Skeleton, config: TrainConfig, *, input_hw: tuple[int, int] | None = None
) -> PersonTransform:
    """The augmented crop, of the config's size or of another."""
    return PersonTransform(
        skeleton,
        input_hw or config.input.size_hw,
        margin=config.input.margin,
        augmentation=_augmentation(config.augment),
    )


def crop_rule(config: TrainConfig) -> dict[str, object]:
    """The keys that say how much of a photo a crop may show, as a crop cache tells them."""
    rotates, halves = config.augment.rotation_probability, config.augment.half_body_probability
    return {
        "input.height": config.input.height,
        "input.width": config.input.width,
        "input.margin": config.input.margin,
        "augment.scale_range": list(config.augment.scale_range),
        "augment.rotation_degrees": config.augment.rotation_degrees if rotates else 0.0,
        "augment.half_body_min_keypoints": (
            config.augment.half_body_min_keypoints if halves else None
        ),
    }


def _open_cache(
    address: str, people: PersonAnnotations, config: TrainConfig, transform: PersonTransform
) -> CropCache:
    data = config.data
    batch = config.engine.batch_size // config.engine.accumulate
    copies = LocalCopies(
        Path(data.cache_copies),
        data.cache_gib,
        data.cache_window,
        samples_ahead=(PREFETCHED_BATCHES + 1) * data.workers * batch,
    )
    return open_cache(
        address, people.instances, transform.crop, rule=crop_rule(config), copies=copies
    )


def evaluation_dataset(people: PersonAnnotations, input_config: InputConfig) -> PoseDataset:
    """Crops without randomness."""
    transform = PersonTransform(people.skeleton, input_config.size_hw, margin=input_config.margin)
    return PoseDataset(people.instances, transform)


def evaluation_batches(
    dataset: PoseDataset,
    context: DistributedContext,
    *,
    batch_size: int,
    workers: int,
    done: npt.NDArray[np.int64] | None = None,
) -> PoseLoader:
    """Every person exactly once over all ranks, without those whose ids are among `done`."""
    return eval_loader(
        dataset,
        batch_size=batch_size,
        rank=context.rank,
        world_size=context.world_size,
        num_workers=workers,
        pin_memory=context.device.type == "cuda",
        done=done,
    )


def _augmentation(config: AugmentConfig) -> Augmentation:
    low, high = config.scale_range
    return Augmentation(
        scale_range=(low, high),
        rotation_degrees=config.rotation_degrees,
        rotation_probability=config.rotation_probability,
        flip_probability=config.flip_probability,
        half_body_probability=config.half_body_probability,
        half_body_min_keypoints=config.half_body_min_keypoints,
        brightness=config.brightness,
        contrast=config.contrast,
        saturation=config.saturation,
        blur_probability=config.blur_probability,
        dropout_probability=config.dropout_probability,
    )
