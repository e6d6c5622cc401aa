"""The photos in memory are few."""

import pytest

from cpn.demo import album
from cpn.demo.album import Album, StoredPhoto
from cpn.demo.uploads import RefusedError


def test_the_photo_asked_for_longest_ago_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "MAX_PHOTOS", 2)
    photos = Album()
    first, second = (photos.add(StoredPhoto(name, b"", [])) for name in (b"1", b"2"))
    assert photos[first].content == b"1"
    third = photos.add(StoredPhoto(b"3", b"", []))
    assert photos[first].content == b"1"
    assert photos[third].content == b"3"
    with pytest.raises(RefusedError, match="no longer in memory, which holds 2") as error:
        photos[second]
    assert error.value.status == 404


def test_keys_cannot_be_guessed() -> None:
    photos = Album()
    keys = {photos.add(StoredPhoto(b"", b"", [])) for _ in range(20)}
    assert len(keys) == 20
    assert min(map(len, keys)) >= 22  # 128 bits


def test_a_person_who_is_not_there() -> None:
    for number in (0, -1):
        with pytest.raises(RefusedError, match=f"the photo has no person {number}"):
            StoredPhoto(b"", b"", []).person(number)
