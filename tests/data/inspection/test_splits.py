from cpn.data.inspection.splits import inspect_together


def test_two_splits_that_go_together() -> None:
    assert inspect_together((["a", "b"], ("a", "b")), ({"x": "1.jpg"}, {"y": "1.jpg"})) == []


def test_other_keypoints_are_an_error() -> None:
    (finding,) = inspect_together((["a", "b"], ["a", "c"]), ({}, {}))
    assert (finding.severity, finding.what) == (
        "error",
        "keypoint 2 is 'b' in train and 'c' in val",
    )
    (finding,) = inspect_together((["a", "b"], ["a"]), ({}, {}))
    assert finding.what == "keypoint 2 is 'b' in train and 'no more' in val"


def test_shared_photos_are_a_leak() -> None:
    (finding,) = inspect_together((["a"], ["a"]), ({"x": "1.jpg", "z": "3.jpg"}, {"x": "2.jpg"}))
    assert (finding.severity, finding.ids) == ("warning", ("1.jpg",))
    assert finding.text.startswith("1 photo (id 1.jpg): it is in train and in val; take it out")
