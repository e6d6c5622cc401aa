"""People with a face, shoulders and knees: left is at the larger x of whom faces the camera."""

import numpy as np

from cpn.data.inspection.sides import PairShare, compare_sides, pair_name
from cpn.data.persons import FloatArray
from tests.data.inspection.people_of import people_of

NAMES = (
    *("nose", "left_eye", "right_eye", "left_shoulder", "right_shoulder"),
    *("left_knee", "right_knee"),
)
PAIRS = ((1, 2), (3, 4), (5, 6))
FRONT = [[20, 20], [22, 18], [18, 18], [30, 30], [10, 30], [25, 60], [15, 60]]
COUNT = 25


def facing() -> FloatArray:
    """(25, 7, 3), all visible."""
    return np.dstack([np.tile(FRONT, (COUNT, 1, 1)), np.full((COUNT, 7), 2)]).astype(float)


def exchange(points: FloatArray, rows: int, *pairs: tuple[int, int]) -> FloatArray:
    for left, right in pairs:
        points[:rows, [left, right]] = points[:rows, [right, left]]
    return points


def test_right_sides_are_counted() -> None:
    found = compare_sides(people_of(facing()), NAMES, PAIRS)
    assert found.findings == ()
    assert found.how == "of 25 people who face the camera, the left one is at the larger x"
    assert found.pairs[1] == PairShare("left_shoulder", "right_shoulder", 25, 1.0)


def test_an_exchanged_set_is_told_with_its_pairs() -> None:
    people = people_of(exchange(facing(), COUNT, *PAIRS[:2]))
    (finding,) = compare_sides(people, NAMES, PAIRS).findings
    assert finding.severity == "warning"
    assert finding.what == (
        "left and right look exchanged, the right way round are only: eyes 0%, shoulders 0%"
    )


def test_some_exchanged_people_are_told_of_the_trunk_only() -> None:
    """Six of 25 leave 76 %; knees do cross."""
    people = people_of(exchange(facing(), 6, *PAIRS[1:]))
    (finding,) = compare_sides(people, NAMES, PAIRS).findings
    assert finding.what.endswith("for some people, the right way round are only: shoulders 76%")
    assert compare_sides(people_of(exchange(facing(), 5, *PAIRS)), NAMES, PAIRS).findings == ()


def test_who_shows_no_face_or_stands_on_the_head_is_not_asked() -> None:
    points = exchange(facing(), 5, *PAIRS)
    points[:3, 1, 2] = 1  # an eye is hidden
    points[3:5, 0, 1] = 40  # the nose below the shoulders
    found = compare_sides(people_of(points), NAMES, PAIRS)
    assert found.how.startswith("of 20 people who face")
    assert found.pairs[1].share == 1


def test_twenty_people_are_needed() -> None:
    points = exchange(facing(), COUNT, *PAIRS)
    points[:6, 0, 2] = 0
    found = compare_sides(people_of(points), NAMES, PAIRS)
    assert found.how.startswith("too few faces")


def test_without_faces_pairs_are_compared_with_each_other() -> None:
    points = exchange(facing(), COUNT, PAIRS[2])
    points[:, 0] = 0
    found = compare_sides(people_of(points), NAMES, PAIRS)
    assert "of 25 people, the left one lies to the right one as left_shoulder to" in found.how
    assert [pair.left for pair in found.pairs] == ["left_eye", "left_knee"]
    (finding,) = found.findings
    assert "only: knees 0%" in finding.what


def test_people_seen_from_behind_are_right_among_themselves() -> None:
    points = exchange(facing(), 10, *PAIRS)
    points[:, 0] = 0
    assert [pair.share for pair in compare_sides(people_of(points), NAMES, PAIRS).pairs] == [1, 1]


def test_most_people_exchanged_is_exchanged() -> None:
    people = people_of(exchange(facing(), 15, PAIRS[2]))
    (finding,) = compare_sides(people, NAMES, PAIRS).findings
    assert finding.what == "left and right look exchanged, the right way round are only: knees 40%"


def test_a_skeleton_without_sides() -> None:
    assert compare_sides(people_of(facing()), NAMES, ()).pairs == ()
    assert compare_sides(people_of(facing()[:0]), NAMES, PAIRS).how == "nobody to compare"


def test_pair_names() -> None:
    assert [pair_name(name) for name in ("left_eye", "Hip.Left", "LeftKnee")] == [
        *("eyes", "hips", "knees"),
    ]
