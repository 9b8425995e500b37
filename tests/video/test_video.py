"""A video comes back frame by frame, without loss, and on wish without flicker."""

import json
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from colour_engine import ColourEngine, paint
from dpseg import DataError, ImageError, Segmenter
from dpseg.video.segment_video import segment_video
from dpseg.video.smooth import Smoother
from dpseg.video.streams import VideoOut, open_video, read_label_video
from video.clips import damage, encode, times_in


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def segmenter(engine: ColourEngine, cache) -> Segmenter:
    return Segmenter(engine, cache=cache)


def write_video(path: Path, frames: list[np.ndarray], rate: int = 10) -> Path:
    """Write frames H W 3 without loss."""
    with VideoOut(
        path, codec="ffv1", pixels="bgr0", given="rgb24", rate=Fraction(rate), options={}
    ) as video:
        for number, frame in enumerate(frames):
            video.write(frame, Fraction(number, rate))
    return path


def moving(steps: int = 5) -> list[np.ndarray]:
    """A red block that moves over white."""
    return [paint(("red", 24, 56, 8 * k, 8 * k + 32)) for k in range(steps)]


def test_every_frame_is_labelled_as_a_photo(
    segmenter: Segmenter, engine: ColourEngine, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "clip.mkv", moving())
    find = segmenter.prepare("red, blue", unlabelled=False)
    encoded = engine.calls["text"]
    told: list[tuple[int, int]] = []
    folder = segment_video(
        segmenter, find, path, tmp_path / "out", progress=lambda *done: told.append(done)
    )
    assert engine.calls["text"] == encoded  # the words were read once
    found = list(read_label_video(folder / "labels.mkv"))
    assert len(found) == 5
    for labels, frame in zip(found, moving(), strict=True):
        np.testing.assert_array_equal(labels, find(frame).labels)
    assert told[-1] == (5, 5)
    record = json.loads((folder / "result.json").read_text())
    red = record["classes"][0]
    assert (record["frames"], record["frames_per_second"]) == (5, 10)
    assert red["pixels"] == sum(int((labels == 0).sum()) for labels in found)
    assert len(red["area_by_frame"]) == 5


def test_the_overlay_plays_and_shows_colours(segmenter: Segmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", moving(3))
    folder = segment_video(segmenter, segmenter.prepare("red"), path, tmp_path / "out")
    with av.open(str(folder / "overlay.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 3
    height, width, _ = frames[0].shape
    assert height % 2 == width % 2 == 0
    assert width >= 720
    assert height > width  # the key of colours stands below the square frame
    assert all(frame.std() > 10 for frame in frames)


def test_many_classes_survive_in_sixteen_bits(segmenter: Segmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", moving(2))
    find = segmenter.prepare([*(f"thing{k}" for k in range(260)), "red"], unlabelled=False)
    folder = segment_video(segmenter, find, path, tmp_path / "out", overlay=False)
    assert not (folder / "overlay.mp4").exists()
    for labels, frame in zip(read_label_video(folder / "labels.mkv"), moving(2), strict=True):
        assert labels.max() == 260
        np.testing.assert_array_equal(labels, find(frame).labels)


def flicker(labels: list[np.ndarray]) -> float:
    return float(np.mean([(before != after).mean() for before, after in pairwise(labels)]))


def noisy(steps: int) -> list[np.ndarray]:
    """A patch between red and yellow whose tint trembles, on white."""
    random = np.random.default_rng(0)
    frames = []
    for _ in range(steps):
        frame = paint()
        tint = np.array((226, 118, 34)) + random.normal(0, (2, 22, 2), (6, 6, 3))
        patch = np.kron(np.clip(tint, 0, 255), np.ones((8, 8, 1)))
        frame[24:72, 24:72] = patch.astype(np.uint8)
        frames.append(frame)
    return frames


def test_smoothing_calms_what_trembles(segmenter: Segmenter) -> None:
    find = segmenter.prepare("red, yellow")
    smoother = Smoother(segmenter, past=0.8)
    results = [find(frame) for frame in noisy(12)]
    plain = flicker([result.labels for result in results][4:])
    calm = flicker([smoother(result) for result in results][4:])
    assert plain > 0.02
    assert calm < 0.5 * plain


def test_smoothing_follows_what_moves_and_forgets_at_a_cut(segmenter: Segmenter) -> None:
    find = segmenter.prepare("red, blue")
    smoother = Smoother(segmenter, past=0.5)
    for frame in moving():
        result = find(frame)
        smoothed = smoother(result)
    middle = result.labels == 0
    assert (smoothed == 0)[middle].mean() > 0.7
    other = find(paint(ground="blue"))
    np.testing.assert_array_equal(smoother(other), other.labels)


def test_without_a_past_nothing_changes(segmenter: Segmenter) -> None:
    find = segmenter.prepare("red, blue")
    smoother = Smoother(segmenter, past=0)
    for frame in moving(3):
        result = find(frame)
        np.testing.assert_array_equal(smoother(result), result.labels)
    with pytest.raises(DataError, match="1"):
        Smoother(segmenter, past=1)


def test_frames_are_turned_upright(tmp_path: Path) -> None:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = 200
    path = write_video(tmp_path / "clip.mp4", [picture])
    turned = tmp_path / "turned.mp4"
    with av.open(str(path)) as source, av.open(str(turned), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90) if hasattr(stream, "set_display_rotation") else pytest.skip(
            "this PyAV cannot write a rotation"
        )
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    with open_video(turned) as video:
        (frame,) = list(video)
    np.testing.assert_array_equal(frame.image, np.rot90(picture))


def test_frames_of_other_sizes_get_labels_of_the_first_by_nearest_pixels(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    small, large = moving(3), [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in moving(3)]
    parts = [
        encode(tmp_path / f"{len(frames[0])}.webm", frames, "libvpx") for frames in (small, large)
    ]
    path = tmp_path / "call.webm"
    with av.open(str(path), "w") as joined, av.open(str(parts[0])) as template:
        stream = joined.add_stream_from_template(template.streams.video[0])
        for number, part in enumerate(parts):
            with av.open(str(part)) as source:
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts += 300 * number
                        packet.dts, packet.stream = packet.pts, stream
                        joined.mux(packet)
    find = segmenter.prepare(["red", *(f"thing{k}" for k in range(200)), "white"])
    folder = segment_video(segmenter, find, path, tmp_path / "out")
    with open_video(path) as video:
        expected = [find(frame.image).labels for frame in video]
    assert [labels.shape for labels in expected] == [(96, 96)] * 3 + [(192, 192)] * 3
    record = json.loads((folder / "result.json").read_text())
    for labels, own, area in zip(
        read_label_video(folder / "labels.mkv"),
        expected,
        record["classes"][0]["area_by_frame"],
        strict=True,
    ):
        np.testing.assert_array_equal(labels, own if len(own) == 96 else own[1::2, 1::2])
        assert area == pytest.approx((own == 0).mean(), abs=0.01)
    assert len(times_in(folder / "overlay.mp4")) == 6


@pytest.mark.parametrize(("ending", "codec"), [("mkv", "libx264"), ("mp4", "mpeg4")])
def test_every_frame_keeps_its_time(
    segmenter: Segmenter, tmp_path: Path, ending: str, codec: str
) -> None:
    times = [500, 540, 580, 1600, 2600, 2633]
    path = encode(tmp_path / f"phone.{ending}", moving(6), codec, times=times)
    folder = segment_video(segmenter, segmenter.prepare("red"), path, tmp_path / "out")
    record = json.loads((folder / "result.json").read_text())
    expected = times_in(path)
    np.testing.assert_allclose(np.diff(expected), np.diff(times) / 1000, atol=1e-3)
    written = [times_in(folder / name) for name in ("labels.mkv", "overlay.mp4")]
    for found in (record["times"], *written):
        np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("frames", [4, 20])
def test_a_clock_that_begins_anew_goes_on(tmp_path: Path, frames: int) -> None:
    part = encode(tmp_path / "part.ts", moving(frames), "mpeg2video").read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(part * 2)
    with open_video(path) as video:
        times = [float(frame.time) for frame in video]
    assert len(times) == 2 * frames
    np.testing.assert_allclose(np.diff(times), 0.1, atol=0.001)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.avi", "mjpeg", {}),
        ("a.mp4", "mpeg4", {}),
        ("a.webm", "libvpx", {"auto-alt-ref": "0"}),
        ("a.mkv", "libx264", {"bf": "0"}),
    ],
)
def test_damaged_frames_are_left_out_and_counted(
    segmenter: Segmenter, tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    frames = [frame + np.uint8(number) for number, frame in enumerate(moving(8))]
    path = encode(tmp_path / name, frames, codec, options=options)
    expected = times_in(path)
    damage(path, [3, 5])
    find = segmenter.prepare("red, white")
    folder = segment_video(segmenter, find, path, tmp_path / "out", overlay=False)
    record = json.loads((folder / "result.json").read_text())
    assert (record["frames"], record["bad_frames"]) == (6, 2)
    assert record["times"] == pytest.approx([expected[k] for k in (0, 1, 2, 4, 6, 7)], abs=1e-6)
    assert len(list(read_label_video(folder / "labels.mkv"))) == 6


@pytest.mark.parametrize("lost", [5, 11, 23])
def test_a_lost_frame_of_h264_does_not_disturb_the_others(tmp_path: Path, lost: int) -> None:
    frames = [frame + np.uint8(number) for number, frame in enumerate(moving(8) * 3)]
    path = damage(encode(tmp_path / "a.mkv", frames, "libx264", options={"g": "5"}), [lost])
    with open_video(path) as video:
        times = [frame.time for frame in video]
    with av.open(str(path)) as file:
        decodable = []
        for packet in file.demux(video=0):
            with suppress(av.error.FFmpegError):
                decodable += [frame.time for frame in packet.decode()]
    assert times == pytest.approx(sorted(decodable))
    assert 1 <= video.bad_frames == 24 - len(times) <= 6


def test_bad_videos_leave_nothing(segmenter: Segmenter, tmp_path: Path) -> None:
    find = segmenter.prepare("red")
    whole = write_video(tmp_path / "clip.mkv", moving())
    broken, sound = tmp_path / "broken.mp4", tmp_path / "none.mp4"
    broken.write_bytes(whole.read_bytes()[:200])
    for path in (broken, sound):
        with pytest.raises(ImageError, match="cannot be read as a video"):
            segment_video(segmenter, find, path, tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []
    lost = damage(encode(tmp_path / "lost.avi", moving(3), "mjpeg"), [0, 1, 2])
    with pytest.raises(ImageError, match="no frame that can be decoded"):
        segment_video(segmenter, find, lost, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
