"""A camera, of which there is none here."""

from typing import Any

import numpy as np
import pytest

from cpn.errors import UserError
from cpn.video.camera import Camera

BGR = np.full((48, 64, 3), (3, 2, 1), np.uint8)


class PretendedCapture:
    """A camera that gives a few pictures and is pulled out then."""

    def __init__(self, pictures: int, *, is_open: bool = True) -> None:
        self._left = pictures
        self._is_open = is_open
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._is_open

    def set(self, *_: Any) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        self._left -= 1
        return (True, BGR.copy()) if self._left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def pretend(monkeypatch: pytest.MonkeyPatch, capture: PretendedCapture) -> list[int]:
    asked: list[int] = []

    def opened(index: int) -> PretendedCapture:
        asked.append(index)
        return capture

    monkeypatch.setattr("cv2.VideoCapture", opened)
    return asked


def test_frames_come_in_rgb_until_the_camera_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = PretendedCapture(3)
    asked = pretend(monkeypatch, capture)
    camera = Camera(2)
    frames = list(camera)
    camera.close()
    assert asked == [2]
    assert capture.released
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert frames[0].time == 0
    assert frames[0].time < frames[1].time < frames[2].time
    assert frames[0].image_rgb is not None
    assert frames[0].image_rgb[0, 0].tolist() == [1, 2, 3]


def test_no_camera_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, PretendedCapture(0, is_open=False))
    with pytest.raises(UserError, match=r"source=camera:1: there is no such camera, or another"):
        Camera(1)


def test_a_camera_without_a_picture_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, PretendedCapture(0))
    with pytest.raises(UserError, match=r"source=camera:0: the camera gives no picture"):
        list(Camera(0))
