"""Pictures from an external ffmpeg: PyAV's, at the same times; one sentence where it fails, and nothing left behind."""

import itertools
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from anchor.errors import ConfigError, MediaError
from anchor.media import FrameReader, check_ffmpeg_args, ffmpeg, probe, write_video

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on PATH")


@pytest.fixture
def clip(tmp_path, numbers):
    draw, _ = numbers
    write_video(tmp_path / "v.mp4", (draw(i) for i in range(50)))
    return tmp_path / "v.mp4"


@pytest.fixture
def started(monkeypatch):
    """Every process that is started to decode."""
    processes = []

    class Watched(subprocess.Popen):
        def __init__(self, command, *args, **kwargs):
            super().__init__(command, *args, **kwargs)
            if "-i" in command:
                processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    return processes


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a shell script in the place of ffmpeg."""

    def install(body):
        path = tmp_path / "ffmpeg.sh"
        path.write_text(f'#!/bin/sh\n[ "$1" = -version ] && exec ffmpeg -version\n{body}\n')
        path.chmod(0o755)
        monkeypatch.setenv("ANCHOR_FFMPEG", str(path))

    return install


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("p02_man_700px_vfr22.mp4", 200),
        ("p05_woman_portrait1080_25fps_hevc.mp4", 25),
        ("x01_multishot_2997fps.mp4", 260),
        ("g01_360x288_mpeg1.mpg", 80),
    ],
)
def test_ffmpeg_and_pyav_see_the_same(data_dir, name, count):
    path = data_dir / "data" / "clips" / name
    info = probe(path)
    readers = [FrameReader(path, info, threads=1, backend=backend) for backend in ("ffmpeg", "pyav")]
    assert readers[0].backend == "ffmpeg"
    assert readers[0].first_frame == readers[1].first_frame
    pairs = itertools.zip_longest(*(itertools.islice(reader, count) for reader in readers))
    seen = 0
    for (i, one), (j, other) in pairs:
        assert i == j
        assert np.abs(one.astype(np.int16) - other).max() <= 1
        seen += 1
    assert seen > 20
    if seen < count:
        assert readers[0].num_frames == readers[1].num_frames == i + 1


@needs_ffmpeg
def test_the_colours_of_interlaced_pictures_are_those_of_their_fields(tmp_path):
    """Broadcast material: colours enlarged across the two fields differ from PyAV's by up to 255."""
    path = tmp_path / "fields.mpg"
    source = ["-f", "lavfi", "-i", "testsrc=s=180x144:r=25:d=0.4", "-vf", "setfield=tff", "-flags", "+ilme+ildct"]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-c:v", "mpeg2video", str(path)], check=True)
    one, other = (list(FrameReader(path, backend=backend)) for backend in ("ffmpeg", "pyav"))
    assert [i for i, _ in one] == [i for i, _ in other]
    assert max(int(np.abs(a.astype(np.int16) - b).max()) for (_, a), (_, b) in zip(one, other, strict=True)) <= 1


@needs_ffmpeg
def test_a_reader_may_be_read_again(clip, numbers):
    reader = FrameReader(clip, backend="ffmpeg")
    for _ in range(2):
        assert [(i, numbers[1](frame)) for i, frame in reader] == [(i, i) for i in range(50)]


@needs_ffmpeg
def test_names_that_look_like_options_or_protocols_are_files(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-y.mp4", "concat:a|b.mp4", "two words%d.mp4"):
        shutil.copy(clip, tmp_path / name)
        assert len(list(FrameReader(Path("./") / name, backend="ffmpeg"))) == 50


@needs_ffmpeg
def test_an_absent_decoder_is_one_sentence(clip):
    reader = FrameReader(clip, backend="ffmpeg", ffmpeg_args=("-c:v", "h264_nope"))
    with pytest.raises(
        MediaError, match=r"v\.mp4: ffmpeg failed with status \d+: .*Unknown decoder 'h264_nope'.*decod"
    ):
        list(reader)


@needs_ffmpeg
def test_a_decoder_can_be_chosen(clip, started):
    frames = list(FrameReader(clip, threads=1, backend="ffmpeg", ffmpeg_args=["-c:v", "h264", "-threads", 2]))
    assert len(frames) == 50
    words = started[0].args
    assert words[words.index("-c:v") : words.index("-c:v") + 4] == ["-c:v", "h264", "-threads", "2"]
    assert words.index("-c:v") < words.index("-i")


@needs_ffmpeg
def test_a_process_that_dies_in_the_middle_is_one_sentence(clip, program):
    program('ffmpeg "$@" | head -c 500000\necho "the card is lost" >&2\nkill -9 $$')
    seen = []
    with pytest.raises(MediaError, match=r"v\.mp4: ffmpeg was ended by signal 9: .*the card is lost\. Check"):
        seen.extend(i for i, _ in FrameReader(clip, backend="ffmpeg"))
    assert 5 < len(seen) < 50
    assert seen == list(range(len(seen)))


@needs_ffmpeg
def test_a_stream_that_breaks_off_is_no_short_video(clip, program):
    program('ffmpeg "$@" | head -c 500000\nexit 0')
    with pytest.raises(MediaError, match=r"v\.mp4: ffmpeg sent a broken stream"):
        list(FrameReader(clip, backend="ffmpeg"))


@needs_ffmpeg
def test_what_ffmpeg_says_neither_stops_nor_fills_anything(clip, program):
    program('yes "something is wrong" | head -n 100000 >&2\nexec ffmpeg "$@"')
    assert len(list(FrameReader(clip, backend="ffmpeg"))) == 50


@needs_ffmpeg
def test_one_who_leaves_early_ends_the_process(tmp_path, started):
    picture = np.zeros((360, 640, 3), np.uint8)
    write_video(tmp_path / "v.mp4", [picture] * 300, preset="ultrafast")
    frames = iter(FrameReader(tmp_path / "v.mp4", threads=1, backend="ffmpeg"))
    next(frames)
    assert started[0].poll() is None  # 200 MB do not fit into a pipe: it waits for its reader
    frames.close()
    assert started[0].returncode == -9
    assert started[0].stdout.closed
    assert started[0].stderr.closed


@needs_ffmpeg
def test_an_error_of_the_reader_ends_the_process(tmp_path, started):
    write_video(tmp_path / "v.mp4", [np.zeros((360, 640, 3), np.uint8)] * 300, preset="ultrafast")

    def look():
        for _ in FrameReader(tmp_path / "v.mp4", backend="ffmpeg"):
            raise KeyError("no face")

    with pytest.raises(KeyError):
        look()
    assert started[0].wait(30) == -9


@needs_ffmpeg
def test_a_script_that_starts_another_process_leaves_none(clip, program, started, tmp_path):
    program(f'ffmpeg "$@" &\necho $! > {tmp_path}/pid\nwait')
    frames = iter(FrameReader(clip, backend="ffmpeg"))
    next(frames)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    frames.close()
    wait_until(lambda: has_ended(int((tmp_path / "pid").read_text())))


def wait_until(is_so):
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.05)
    pytest.fail("it never came to that")


def has_ended(process_id):
    try:
        return (
            Path(f"/proc/{process_id}/stat").read_text().split(") ")[1][0] in "ZX"
        )  # a zombie: its parent's to remove
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_no_ffmpeg_is_one_sentence(clip, monkeypatch, tmp_path):
    monkeypatch.delenv("ANCHOR_FFMPEG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MediaError, match=r"no ffmpeg is on PATH.*ANCHOR_FFMPEG=PATH, or use decoder=auto"):
        FrameReader(clip, backend="ffmpeg")
    monkeypatch.setenv("ANCHOR_FFMPEG", "/no/such/ffmpeg")
    with pytest.raises(MediaError, match="ANCHOR_FFMPEG=/no/such/ffmpeg is no program"):
        FrameReader(clip, backend="ffmpeg")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("ANCHOR_FFMPEG", str(broken))
    with pytest.raises(MediaError, match="broken cannot be run"):
        list(FrameReader(clip, backend="ffmpeg"))


@pytest.mark.parametrize(
    ("version", "option"),
    [("4.2.7", "-vsync"), ("n5.0", "-vsync"), ("5.1.9-0+deb12u1", "-fps_mode"), ("N-109-g1", "-fps_mode")],
)
def test_an_old_ffmpeg_gets_its_own_option(clip, tmp_path, monkeypatch, version, option):
    path = tmp_path / "old"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -version ] && echo "ffmpeg version {version} Copyright" && exit\necho "$@" >&2\nexit 1\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv("ANCHOR_FFMPEG", str(path))
    monkeypatch.setattr(ffmpeg, "LINE_CHARS", 9999)
    with pytest.raises(MediaError, match=f"status 1: .* {option} passthrough "):
        list(FrameReader(clip, backend="ffmpeg"))


@pytest.mark.parametrize(
    "words",
    [
        ["out.mp4"], ["-y"], ["-c:v", "h264", "out.mp4"], ["-re", "out.mp4"], ["-i", "other.mp4"], ["-c:v", "-y"],
        ["-c:v"], ["-report", "1"], ["-dump_attachment:t", "file"], ["-progress", "file"], ["-ss", "3"],
        ["-noautorotate", "out.mp4"], ["-nostats", "x"], ["-c:v", "h264;rm -r ~", "x"], ["-/filter", "file"],
        ["", ""], ["-c:v", "a\0b"], "-c:v",
    ],
)  # fmt: skip
def test_words_that_are_not_for_a_decoder_are_refused(words):
    with pytest.raises(ConfigError, match="ffmpeg_args"):
        check_ffmpeg_args(words)


def test_words_for_a_decoder_pass_as_they_are():
    words = [
        "-hwaccel",
        "mlu",
        "-c:v",
        "h264_mludec",
        "-device_id",
        1,
        "-skip_frame",
        "-1",
        "-init_hw_device",
        "x=/dev/y",
    ]
    assert check_ffmpeg_args(words) == tuple(map(str, words))
    assert check_ffmpeg_args(()) == ()


@needs_ffmpeg
def test_nothing_passes_through_a_shell_and_nothing_is_written(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("FFREPORT", f"file={tmp_path}/report.log")
    before = sorted(os.listdir(tmp_path))
    reader = FrameReader(clip, backend="ffmpeg", ffmpeg_args=("-c:v", f"$(touch {tmp_path}/x); touch {tmp_path}/y"))
    with pytest.raises(MediaError, match="Unknown decoder"):
        list(reader)
    assert len(list(FrameReader(clip, backend="ffmpeg"))) == 50
    assert sorted(os.listdir(tmp_path)) == before
