"""Pictures to a video that players show."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cpn.errors import UserError
from cpn.video.reader import VideoReader
from cpn.video.writer import VideoWriter
from tests.video.clips import RATE, picture


def test_it_is_h264_in_mp4_of_even_size(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "new" / "a.mp4", frame_rate=Fraction(30000, 1001))
    for number in range(3):
        writer.write(picture(number, (33, 25)), number * 1001 / 30000)
    assert not (tmp_path / "new" / "a.mp4").exists()
    writer.commit()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]
    with av.open(str(tmp_path / "new" / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height, stream.frames) == (34, 26, 3)
        assert stream.average_rate == Fraction(30000, 1001)


def test_opencv_shows_it(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", frame_rate=RATE)
    writer.write(picture(5), 0.0)
    writer.commit()
    works, image_bgr = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()
    assert works
    assert float(np.abs(image_bgr.astype(float) - picture(5)).mean()) < 3


def test_a_lost_frame_leaves_the_others_at_their_times(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", frame_rate=RATE)
    for number in (0, 1, 4):
        writer.write(picture(number), number / 10)
    writer.commit()
    frames = list(VideoReader(tmp_path / "a.mp4", max_megapixels=1))
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.1, 0.4])


def test_pictures_of_another_size_or_time_are_fitted_in(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", frame_rate=RATE)
    writer.write(picture(0), 0.0)
    writer.write(picture(1, (32, 24)), 0.0)
    writer.commit()
    frames = list(VideoReader(tmp_path / "a.mp4", max_megapixels=1))
    assert [f.image_rgb.shape for f in frames if f.image_rgb is not None] == [(48, 64, 3)] * 2


@pytest.mark.parametrize("pictures", [0, 2])
def test_what_is_not_committed_or_empty_is_not_there(tmp_path: Path, pictures: int) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", frame_rate=RATE)
    for number in range(pictures):
        writer.write(picture(number), number / 10)
    if pictures:
        writer.discard()
    else:
        writer.commit()
    assert list(tmp_path.iterdir()) == []


def test_a_build_without_x264_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(
        UserError, match=r"a\.mp4: this build of PyAV has no libx264, .* draw=false"
    ):
        VideoWriter(tmp_path / "a.mp4", frame_rate=RATE)
