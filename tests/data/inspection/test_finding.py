import numpy as np
import pytest

from cpn.data.inspection.finding import Finding
from cpn.errors import UserError

IDS = np.array([4, 7, 9])


def test_the_text_counts_and_names_five() -> None:
    finding = Finding("error", "there is no 'area'", "add it", (1, 2, 3, 4, 5, 6))
    assert finding.text == ("6 annotations (ids 1, 2, 3, 4, 5, …): there is no 'area'; add it")
    assert finding.to_dict()["ids"] == [1, 2, 3, 4, 5, 6]
    assert finding.to_dict()["count"] == 6


def test_the_text_of_a_whole_file_names_none() -> None:
    assert Finding("note", "all is well", "go on").text == "all is well; go on"


def test_an_error_is_divided_into_what_is_the_case_and_what_to_do() -> None:
    known = Finding.of_error(UserError("a.json: no 'area'; add it; or not"), "mend it")
    assert known == Finding("error", "a.json: no 'area'", "add it; or not")
    unknown = Finding.of_error(UserError("a.json: no 'area'"), "mend it", source="a.json")
    assert unknown == Finding("error", "no 'area'", "mend it")
    missing = Finding.of_error(FileNotFoundError(2, "No such file", "a.json"), "mend it")
    assert missing == Finding("error", "a.json: No such file", "mend it")


def test_where_takes_the_ids_of_the_mask() -> None:
    mask = np.array([True, False, True])
    assert Finding.where(mask, IDS, "error", "x", "y") == [Finding("error", "x", "y", (4, 9))]
    assert Finding.where(~mask & mask, IDS, "error", "x", "y") == []


@pytest.mark.parametrize(("count", "severity"), [(100, "note"), (99, "warning")])
def test_what_concerns_more_than_one_in_a_hundred_is_a_warning(count: int, severity: str) -> None:
    mask = np.zeros(count, dtype=bool)
    mask[0] = True
    assert Finding.where_often(mask, np.arange(count), "x", "y")[0].severity == severity
    assert Finding.where_often(np.zeros(0), np.zeros(0), "x", "y") == []
