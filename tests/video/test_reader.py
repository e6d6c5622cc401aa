"""Every frame of a video, with its number and its time, whatever is broken."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cpn.errors import UserError
from cpn.video.frames import VideoFrame
from cpn.video.reader import VideoReader
from tests.video.clips import cut_off, damage, picture, turn, write_clip


def read(path: Path) -> tuple[VideoReader, list[VideoFrame]]:
    reader = VideoReader(path, max_megapixels=1)
    frames = list(reader)
    reader.close()
    return reader, frames


def brightness(frame: VideoFrame) -> float | None:
    return None if frame.image_rgb is None else float(frame.image_rgb[:, 40:].mean())


def test_every_frame_has_its_number_and_time(tmp_path: Path) -> None:
    reader, frames = read(write_clip(tmp_path / "a.mp4"))
    assert reader.frame_rate == 10
    assert reader.num_frames == 8
    assert not reader.cut_off
    assert [frame.number for frame in frames] == list(range(8))
    assert [frame.time for frame in frames] == pytest.approx([k / 10 for k in range(8)])
    assert [brightness(f) for f in frames] == pytest.approx([20 * k for k in range(8)], abs=4)
    assert frames[3].image_rgb is not None
    assert frames[3].image_rgb.shape == (48, 64, 3)
    assert float(np.abs(frames[3].image_rgb.astype(float) - picture(3)).mean()) < 3


def test_opencvs_videos_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(8):
        writer.write(picture(number)[..., ::-1].copy())
    writer.release()
    reader, frames = read(path)
    assert (reader.num_frames, len(frames)) == (8, 8)
    assert [frame.time for frame in frames] == pytest.approx([k / 25 for k in range(8)])


def test_a_damaged_frame_keeps_its_number(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    damage(path, 7)  # the last one in the order of decoding: nothing is made from it
    reader, frames = read(path)
    lost = [frame for frame in frames if frame.image_rgb is None]
    assert len(frames) == 8
    assert [frame.number for frame in frames] == list(range(8))
    assert [frame.time for frame in frames] == pytest.approx([k / 10 for k in range(8)])
    assert [frame.problem for frame in lost] == ["cannot be decoded"]
    intact = [frame for frame in frames if frame.image_rgb is not None]
    expected = [20 * frame.number for frame in intact]
    assert [brightness(frame) for frame in intact] == pytest.approx(expected, abs=4)
    assert not reader.cut_off


def test_a_video_that_is_cut_off_gives_what_there_is(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    cut_off(path, 5)
    reader, frames = read(path)
    assert len(frames) == 5
    assert reader.cut_off


def write_with_pause(path: Path, tenths: int = 9) -> Path:
    """8 frames, 10 per second, the fourth of which stays for so much longer."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number + (tenths if number > 3 else 0), Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".flv", ".mp4"])
def test_a_video_whose_rate_varies_is_whole(tmp_path: Path, suffix: str) -> None:
    reader, frames = read(write_with_pause(tmp_path / f"a{suffix}"))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 1.3, 1.4, 1.5, 1.6])
    assert not reader.cut_off


def test_a_matroska_video_that_is_cut_off_is_known_by_its_length(tmp_path: Path) -> None:
    path = write_with_pause(tmp_path / "a.mkv", 0)
    assert not read(path)[0].cut_off
    cut_off(path, 5)
    assert read(path)[0].cut_off


def test_a_video_trimmed_without_encoding_is_whole(tmp_path: Path) -> None:
    """What is before the new start stays in the file, and is counted there, but not shown."""
    clip, path = write_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    with (
        av.open(str(clip)) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None and packet.dts is not None and packet.time_base is not None:
                shift = round(Fraction(3, 10) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                target.mux(packet)
    reader, frames = read(path)
    assert (reader.num_frames, len(frames)) == (8, 5)
    assert not reader.cut_off


def test_a_telephones_video_is_turned_upright(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    turn(path)
    image = read(path)[1][2].image_rgb
    assert image is not None
    assert image.shape == (64, 48, 3)
    assert image[:20].min() > 240  # the white left third is on top after a turn to the right
    assert image[24:].max() < 60


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no video",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nb.mp4\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile b.mp4\n",
    ],
)
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    """Playlists, too: they name other files and addresses."""
    write_clip(tmp_path / "b.mp4")
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mp4: not a readable video: .*; fetch it again or"):
        VideoReader(tmp_path / "a.mp4", max_megapixels=1)


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=1)
    damage(path, 0)
    with pytest.raises(UserError, match=r"not one of its 1 frames can be decoded"):
        read(path)
    cut_off(path, 0)
    with pytest.raises(UserError, match=r"no frame in it can be decoded"):
        read(path)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match="there is no picture in it"):
        VideoReader(path, max_megapixels=1)


def test_large_frames_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=1)
    with pytest.raises(
        UserError, match=r"its frames: 64 x 48 is more than max_megapixels=0\.003: make"
    ):
        VideoReader(path, max_megapixels=0.003)


def _stream_of(path: Path, size_wh: tuple[int, int]) -> bytes:
    """Four frames as a transport stream, of which one may follow another."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(picture(number, size_wh), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_a_video_that_grows_on_the_way_keeps_what_is_small_enough(tmp_path: Path) -> None:
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(_stream_of(path, size) for size in ((64, 48), (128, 96))))
    frames = list(VideoReader(path, max_megapixels=0.005))
    assert [frame.number for frame in frames] == list(range(8))
    shapes = [None if frame.image_rgb is None else frame.image_rgb.shape for frame in frames]
    assert shapes == [(48, 64, 3)] * 4 + [None] * 4
    assert frames[-1].problem == "128 x 96 is more than max_megapixels=0.005"
