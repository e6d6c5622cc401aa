import json
import math
import os
from pathlib import Path

import pytest

from cpn.files.atomic import GrowingFile, plain_json, write_atomically, write_json


def test_failed_write_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError) as caught:
        write_atomically(file / "x.json", b"")
    assert caught.value.filename == str(file)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="directory") as failed:
        write_atomically(folder, b"")
    assert failed.value.filename == str(folder)


def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(pipe, b"content")
        assert os.read(reader, 99) == b"content"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"1")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_many_files_need_not_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fsync")
    write_atomically(tmp_path / "a", b"1", sync=False)
    assert (tmp_path / "a").read_bytes() == b"1"


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.json"
    write_atomically(path, b"1")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"newer")
    assert path.read_bytes() == b"1"
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_file_is_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, rename = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        events.append("sync")
        sync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    write_atomically(tmp_path / "a", b"1")
    assert events == ["sync", "rename", "sync"]


def test_json_keeps_every_digit_and_no_temporary_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    numbers = [0.1 + 0.2, 1.600000023841858, 1e-17, -0.0]
    write_json(path, [{"id": 1, "values": numbers}])
    assert json.loads(path.read_text()) == [{"id": 1, "values": numbers}]
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]


def test_a_failed_json_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, [1])
    assert path.read_text() == "old"


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", [math.nan])
    assert list(tmp_path.iterdir()) == []


def test_plain_json_has_null_for_what_is_not_finite() -> None:
    value = {"AP": math.nan, 1: [math.inf, (1.5, True)], "name": "a"}
    assert plain_json(value) == {"AP": None, "1": [None, [1.5, True]], "name": "a"}


def test_a_growing_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    growing = GrowingFile(path)
    growing.temporary.write_bytes(b"a")
    assert not path.exists()
    growing.commit()
    growing.discard()
    assert path.read_bytes() == b"a"
    assert list(path.parent.iterdir()) == [path]


def test_a_growing_file_that_is_discarded_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    growing = GrowingFile(path)
    growing.temporary.write_bytes(b"new")
    growing.discard()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_growing_file_that_cannot_be_renamed_tells_its_name(tmp_path: Path) -> None:
    growing = GrowingFile(tmp_path / "folder")
    growing.temporary.write_bytes(b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory") as failed:
        growing.commit()
    assert failed.value.filename == str(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_growing_file_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    growing = GrowingFile(tmp_path / "link")
    growing.temporary.write_bytes(b"new")
    growing.commit()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
