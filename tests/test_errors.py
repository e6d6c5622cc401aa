from cpn.errors import count_records, describe_ids, first_line, os_error_text


def test_ids_are_counted_and_the_first_five_shown() -> None:
    assert describe_ids([3]) == "1 (3)"
    assert describe_ids(range(7)) == "7 (0, 1, 2, 3, 4, …)"


def test_records_are_counted_in_words() -> None:
    assert count_records("annotation", [2]) == "1 annotation (id 2)"
    assert count_records("annotation", [2, 5]) == "2 annotations (ids 2, 5)"
    assert count_records("image", range(7)) == "7 images (ids 0, 1, 2, 3, 4, …)"


def test_the_first_line_of_an_error() -> None:
    assert first_line(RuntimeError("out of memory\nframe #0: 0x7f")) == "out of memory"
    assert first_line(OSError("\nno network\n")) == "no network"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_os_errors_name_the_file_where_it_is_known() -> None:
    assert os_error_text(OSError(28, "No space left", "a.json")) == "a.json: No space left"
    assert os_error_text(OSError(28, "No space left")) == "No space left"
    assert os_error_text(FileNotFoundError("no such file: b")) == "no such file: b"
