"""Who is who from frame to frame."""

import numpy as np

from cpn.video.person_tracks import NO_TRACK, PersonTracks


def tracks(high_score: float = 0.5, min_iou: float = 0.25, lost: float = 1.0) -> PersonTracks:
    return PersonTracks(high_score=high_score, min_iou=min_iou, lost_seconds=lost)


def at(*lefts: float) -> np.ndarray:
    return np.array([[left, 50, left + 40, 150] for left in lefts], dtype=np.float64).reshape(-1, 4)


def test_numbers_follow_people_whatever_their_order() -> None:
    follow = tracks()
    sure = np.array([0.9, 0.8])
    assert follow.update(at(0, 300), sure, 0.0).tolist() == [1, 2]
    for frame in range(1, 20):
        here = at(300 - 5 * frame, 5 * frame)
        assert follow.update(here, sure, frame / 25).tolist() == [2, 1]


def test_nobody_is_nobody() -> None:
    follow = tracks()
    assert follow.update(np.zeros((0, 4)), np.zeros(0), 0.0).tolist() == []
    assert follow.update(at(10), np.array([0.9]), 0.1).tolist() == [1]


def test_an_unsure_box_goes_on_with_a_track_but_begins_none() -> None:
    """ByteTrack's point: boxes that are only half sure are people, where there was one before."""
    follow = tracks(high_score=0.6)
    assert follow.update(at(0), np.array([0.9]), 0.0).tolist() == [1]
    found = follow.update(at(2, 300), np.array([0.3, 0.3]), 0.04)
    assert found.tolist() == [1, NO_TRACK]


def test_who_is_away_for_long_comes_back_as_somebody_new() -> None:
    for gap, number in ((0.5, 1), (2.0, 2)):
        follow = tracks(lost=1.0)
        follow.update(at(0), np.array([0.9]), 0.0)
        for time in np.arange(0.1, gap, 0.1):
            follow.update(np.zeros((0, 4)), np.zeros(0), time)
        assert follow.update(at(0), np.array([0.9]), gap).tolist() == [number]


def test_the_overlap_decides() -> None:
    for min_iou, number in ((0.1, 1), (0.9, 2)):
        follow = tracks(min_iou=min_iou)
        follow.update(at(0), np.array([0.9]), 0.0)
        assert follow.update(at(15), np.array([0.9]), 0.04).tolist() == [number]
