from pathlib import Path

import numpy as np
import pytest
import torch

from cpn.data.annotated_photos import AnnotatedPhotos, Wanted, read_annotated_photos
from cpn.data.photo_batches import (
    PhotoBatch,
    collate_photos,
    scaled_canvas,
    training_photos,
    whole_photos,
)
from cpn.data.photo_transform import PhotoAugmentation, PhotoTransform, TransformedPhoto
from cpn.data.worker_loader import WorkerLoader
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError
from tests.conftest import TinyCoco


def _transformed(height: int, width: int, people: int, *, masks: bool = True) -> TransformedPhoto:
    return TransformedPhoto(
        np.full((height, width, 3), 51, np.uint8),
        np.full((people, 4), height, np.float32),
        np.zeros((people, 0, 3), np.float32),
        np.full((people, height, width), people, np.uint8) if masks else None,
    )


def test_a_batch_gives_each_photo_its_own() -> None:
    batch = collate_photos(
        [_transformed(2, 4, 1), _transformed(3, 2, 0), _transformed(1, 1, 2)], [5, 6, 7], (3, 4)
    )
    assert batch.num_samples == 3
    assert [tuple(image.shape) for image in batch.images()] == [(3, 2, 4), (3, 3, 2), (3, 1, 1)]
    assert all(torch.all(image == 0.2) for image in batch.images())
    targets = batch.targets()
    assert [target["boxes"].tolist() for target in targets] == [[[2] * 4], [], [[1] * 4] * 2]
    assert [target["labels"].tolist() for target in targets] == [[1], [], [1, 1]]
    assert [tuple(target["masks"].shape) for target in targets] == [(1, 2, 4), (0, 3, 2), (2, 1, 1)]
    assert [set(target["masks"].flatten().tolist()) for target in targets] == [{1}, set(), {2}]
    assert "keypoints" not in targets[0]


def test_masks_are_missing_only_where_none_are_wanted() -> None:
    without = collate_photos([_transformed(2, 2, 1, masks=False)], [1], (2, 2))
    assert "masks" not in without.targets()[0]
    nobody = collate_photos([_transformed(2, 2, 0)], [1], (2, 2))
    assert nobody.targets()[0]["masks"].shape == (0, 2, 2)


def test_keypoints_are_told_in_the_frame_of_the_boxes() -> None:
    points = np.array([[[3.0, 1.0, 2.0]]], np.float32)
    batch = collate_photos([_transformed(2, 4, 1)._replace(keypoints=points)], [1], (2, 4))
    # the centre of the pixel 3, 1
    assert batch.targets()[0]["keypoints"].tolist() == [[[3.5, 1.5, 2.0]]]


def test_the_canvas_is_a_multiple_of_32() -> None:
    assert scaled_canvas((64, 96), 1.0) == (64, 96)
    assert scaled_canvas((64, 96), 0.75) == (64, 64)  # 48 is as near to 64 as to 32
    assert scaled_canvas((64, 96), 0.1) == (32, 32)


@pytest.fixture
def photos(tiny_coco: TinyCoco) -> AnnotatedPhotos:
    return read_annotated_photos(
        tiny_coco.annotations, tiny_coco.images, wanted=Wanted(num_keypoints=17)
    )


def _loader(
    photos: AnnotatedPhotos, *, rank: int = 0, ranks: int = 1, workers: int = 0
) -> WorkerLoader[PhotoBatch]:
    transform = PhotoTransform((64, 64), PhotoAugmentation(), flip_permutation=range(17))
    context = DistributedContext(rank, ranks)
    return training_photos(
        photos,
        transform,
        scales=(0.5, 1.0),
        global_batch=2,
        seed=3,
        context=context,
        num_workers=workers,
    )


def _equal(one: PhotoBatch, other: PhotoBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_workers_and_a_late_start_change_nothing(photos: AnnotatedPhotos) -> None:
    plain, served = _loader(photos), _loader(photos, workers=1)
    epochs = [list(plain.for_epoch(epoch)) for epoch in range(4)]
    assert all(map(_equal, epochs[1], served.for_epoch(1)))
    plain.set_epoch(1, 1)
    assert _equal(next(iter(plain)), epochs[1][1])
    assert {batch.canvas.shape[1] for epoch in epochs for batch in epoch} == {32, 64}
    assert all(
        sorted(torch.cat([b.image_ids for b in epoch]).tolist()) == [1, 2, 3, 4] for epoch in epochs
    )


def test_ranks_share_every_batch_and_its_scale(photos: AnnotatedPhotos) -> None:
    alone = [batch for epoch in range(3) for batch in _loader(photos).for_epoch(epoch)]
    parts = [
        [
            batch
            for epoch in range(3)
            for batch in _loader(photos, rank=rank, ranks=2).for_epoch(epoch)
        ]
        for rank in range(2)
    ]
    for whole, *shares in zip(alone, *parts, strict=True):
        assert whole.image_ids.tolist() == [int(share.image_ids) for share in shares]
        assert torch.equal(whole.canvas, torch.cat([share.canvas for share in shares]))


def test_an_unreadable_photo_is_told_by_name(photos: AnnotatedPhotos, tiny_coco: TinyCoco) -> None:
    (tiny_coco.images / "003.png").write_bytes(b"nothing")
    for loader in (_loader(photos), _loader(photos, workers=1)):
        with pytest.raises(UserError, match=r"003\.png"):
            list(loader.for_epoch(0))


def test_every_stored_photo_comes_once_with_others_of_its_size(tmp_path: Path) -> None:
    photos = AnnotatedPhotos(
        folder=tmp_path,
        file_names=np.array([b"x.png"] * 7),
        image_ids=np.arange(7),
        sizes_hw=np.array([(4, 6), (6, 4), (4, 6), (4, 6), (6, 4), (4, 6), (5, 5)]),
        people=np.zeros(8, np.int64),
        boxes_xyxy=np.zeros((0, 4)),
        keypoints=np.zeros((0, 0, 3)),
        rings=np.zeros(1, np.int64),
        corners=np.zeros(1, np.int64),
        points=np.zeros((0, 2), np.float32),
        category_id=1,
        keypoint_names=(),
        flip_pairs=None,
        source=tmp_path / "a.json",
    )

    def batches(rank: int, ranks: int) -> list[list[int]]:
        context = DistributedContext(rank, ranks)
        return list(whole_photos(photos, batch_size=3, context=context)._batches)

    assert sorted(batches(0, 1)) == [[0, 2, 3], [1, 4], [5], [6]]
    halves = batches(0, 2) + batches(1, 2)
    assert sorted(index for batch in halves for index in batch) == list(range(7))


def test_stored_photos_are_the_files_pixels(photos: AnnotatedPhotos) -> None:
    context = DistributedContext()
    found = list(whole_photos(photos, batch_size=3, context=context))
    assert [batch.image_ids for batch in found] == [[1, 2, 3], [4]]
    assert {image.shape for batch in found for image in batch.images} == {(48, 64, 3)}
