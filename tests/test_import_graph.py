"""The docs' picture of who imports whom is that of the code."""

from tests.import_graph import PICTURE, drawn, edges, places, reduced


def test_the_picture_is_up_to_date() -> None:
    told = "draw it anew: python -m tests.import_graph"
    assert PICTURE.read_text(encoding="utf-8") == drawn(), told


def test_arrows_that_a_longer_way_stands_for_are_left_out() -> None:
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set[str](), "d": set[str]()}
    assert reduced(graph) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}


def test_all_arrows_point_down() -> None:
    where = places()
    assert {"cpn.data", "cpn.coco"} <= edges()["cpn.tasks"]
    for name, others in edges().items():
        assert all(where[name][1] < where[other][1] for other in others)
