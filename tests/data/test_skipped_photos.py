"""Training on people of whom some have no readable photo: who stands in, what is counted."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpn.data.annotations import Standards, read_person_annotations
from cpn.data.augmentation import Augmentation
from cpn.data.image_files import MISSING, UNREADABLE, PhotoError
from cpn.data.loaders import eval_loader, train_loader
from cpn.data.pose_dataset import PoseDataset
from cpn.data.sample import PoseBatch
from cpn.data.skipped_photos import SkippedPhotos, Unreadable, WithUnreadable
from cpn.data.standards import Gaps
from cpn.data.transforms import PersonTransform
from cpn.errors import UserError
from tests.conftest import TinyCoco


def ledger(share: float = 1.0, *, total: int = 6, gaps: Gaps = Gaps()) -> SkippedPhotos:  # noqa: B008
    return SkippedPhotos(max_skipped=share, total=total, gaps=gaps, source="tiny.json")


def dataset(data: TinyCoco, skipped: SkippedPhotos | None) -> PoseDataset:
    standards = Standards(max_skipped=1.0)
    people = read_person_annotations(data.annotations, data.images, standards=standards)
    transform = PersonTransform(people.skeleton, (32, 24), augmentation=Augmentation())
    return PoseDataset(people.instances, transform, seed=3, skipped=skipped)


def epochs(people: PoseDataset, *, workers: int = 0, ranks: int = 1) -> list[PoseBatch]:
    """The global batches of three epochs."""
    loaders = [
        train_loader(people, global_batch=2, rank=rank, world_size=ranks, num_workers=workers)
        for rank in range(ranks)
    ]
    batches = []
    for epoch in range(3):
        slices = zip(*(loader.for_epoch(epoch) for loader in loaders), strict=True)
        batches += [
            PoseBatch(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
            for parts in slices
        ]
    return batches


@pytest.fixture
def broken_coco(tiny_coco: TinyCoco) -> TinyCoco:
    """The photos of persons 2, 3 and 4 cannot be read."""
    (tiny_coco.images / "002.png").unlink()
    (tiny_coco.images / "003.png").write_bytes(b"<html>not found</html>")
    return tiny_coco


def test_others_stand_in_whatever_the_workers_and_ranks(broken_coco: TinyCoco) -> None:
    expected = epochs(dataset(broken_coco, ledger()))
    ids = torch.cat([batch.instance_ids for batch in expected])
    assert len(ids) == 18
    assert set(ids.tolist()) == {1, 5, 6}
    for workers, ranks in ((1, 1), (2, 1), (0, 2), (2, 2)):
        found = epochs(dataset(broken_coco, ledger()), workers=workers, ranks=ranks)
        for batch, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(tuple(batch), tuple(wanted), rtol=0, atol=0)


def test_who_is_read_is_the_same_as_without_broken_photos(tiny_coco: TinyCoco) -> None:
    before = epochs(dataset(tiny_coco, ledger()))
    (tiny_coco.images / "001.png").unlink()
    after = epochs(dataset(tiny_coco, ledger()))
    for batch, wanted in zip(after, before, strict=True):
        same = wanted.instance_ids != 1
        for field, expected in zip(batch, wanted, strict=True):
            torch.testing.assert_close(field[same], expected[same], rtol=0, atol=0)


def test_a_stand_in_has_its_own_points_and_the_draw_of_its_place(broken_coco: TinyCoco) -> None:
    people = dataset(broken_coco, ledger())
    samples = [people.sample(epoch, 1, unreadable=[]) for epoch in range(40)]
    assert {sample.instance_id for sample in samples} == {1, 5, 6}
    again = people.sample(7, 1, unreadable=[])
    np.testing.assert_array_equal(again.crop, samples[7].crop)


@pytest.mark.parametrize("workers", [0, 2])
def test_reasons_are_counted_by_person_and_photos_told_once(
    broken_coco: TinyCoco, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    skipped = ledger()
    with caplog.at_level(logging.WARNING):
        people = dataset(broken_coco, skipped)
        caplog.clear()
        epochs(people, workers=workers)
    assert skipped.counts == {MISSING: 1, UNREADABLE: 2}
    told = sorted(message.split(": ")[0] for message in caplog.messages)
    assert [Path(name).name for name in told] == ["002.png", "003.png"]
    assert all(message.endswith("(another person stands in)") for message in caplog.messages)


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_stop_the_run(broken_coco: TinyCoco, workers: int) -> None:
    message = (
        r"^tiny\.json: [23] of 6 people cannot be trained on, more than data\.max_skipped=0\.2 of"
        r" them:.*photo: .*; mend these photos or raise that$"
    )
    with pytest.raises(UserError, match=message):
        epochs(dataset(broken_coco, ledger(0.2)), workers=workers)
    assert len(epochs(dataset(broken_coco, ledger(0.5)), workers=workers)) == 9


def test_what_was_broken_before_counts(broken_coco: TinyCoco) -> None:
    gaps = Gaps(left_out=2, missing=frozenset({1}))
    skipped = ledger(0.5, total=8, gaps=gaps)
    assert skipped.counts == {MISSING: 1}
    people = dataset(broken_coco, skipped)
    with pytest.raises(UserError, match=r"5 of 8 people .*: 2 x left out before, 1 x photo: mis"):
        epochs(dataset(broken_coco, ledger(0.5, total=8, gaps=Gaps(left_out=2))))
    assert people.skipped is skipped


@pytest.mark.parametrize("workers", [0, 1])
def test_without_a_ledger_the_first_one_is_an_error(broken_coco: TinyCoco, workers: int) -> None:
    with pytest.raises(PhotoError, match=r"00[23]\.png: ") as caught:
        epochs(dataset(broken_coco, None), workers=workers)
    assert caught.value.reason in {MISSING, UNREADABLE}


def test_evaluation_never_skips(broken_coco: TinyCoco) -> None:
    with pytest.raises(PhotoError, match=r"002\.png: cannot read the image: No such file"):
        list(eval_loader(dataset(broken_coco, None), batch_size=2))


def test_nobody_left_to_stand_in_is_an_error(tiny_coco: TinyCoco) -> None:
    for photo in tiny_coco.images.iterdir():
        photo.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 100 photos that were to stand in .*, the last"):
        epochs(dataset(tiny_coco, ledger()))


def unreadable(person: int, path: str = "a.jpg") -> Unreadable:
    return Unreadable(person, path, UNREADABLE, f"{path}: not a readable image")


def test_ranks_learn_what_the_others_found() -> None:
    """Each has found one person in three, which is one too many only together."""
    ranks = [ledger(0.5, total=3), ledger(0.5, total=3)]
    found = [[unreadable(0)], [unreadable(1), unreadable(1)]]
    for rank, own in zip(ranks, found, strict=True):
        rank.add(own)
    sent: list[list[Unreadable]] = []
    for rank in ranks:
        with pytest.raises(UserError, match="2 of 3 people"):
            rank.exchange(lambda new: [sent.append(new) or new, *found])  # type: ignore[func-returns-value]
    assert sent == [[unreadable(0)], [unreadable(1)]]
    assert [rank.counts for rank in ranks] == [{UNREADABLE: 2}, {UNREADABLE: 2}]


def test_news_are_sent_once(caplog: pytest.LogCaptureFixture) -> None:
    skipped = ledger()
    skipped.add([unreadable(0)])
    rounds: list[list[Unreadable]] = []

    def gather(new: list[Unreadable]) -> list[list[Unreadable]]:
        rounds.append(new)
        return [new, [unreadable(1, "b.jpg")]]

    skipped.exchange(gather)
    caplog.clear()
    skipped.add([unreadable(0), unreadable(1, "b.jpg")])
    skipped.exchange(gather)
    assert rounds == [[unreadable(0)], []]
    assert caplog.messages == []


def test_pinned_batches_keep_their_notes() -> None:
    class Made:
        is_pinned = False

        def pin_memory(self) -> "Made":
            self.is_pinned = True
            return self

    made: Any = Made()
    pinned = WithUnreadable(made, [unreadable(0)]).pin_memory()
    assert made.is_pinned
    assert pinned.made is made
    assert pinned.unreadable == [unreadable(0)]
