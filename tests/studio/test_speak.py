"""A text and an avatar become a video, with what belongs to it."""

from itertools import pairwise

import av
import numpy as np
import pytest
from small_avatars import StandInDetector

from anchor.__main__ import main
from anchor.errors import ConfigError, MediaError
from anchor.media.audio import read_audio
from anchor.media.reader import FrameReader, probe
from anchor.studio import dub, speak
from anchor.studio.performance import voice_presence
from anchor.studio.titles import draw_titles, make_cues, make_srt


def pictures(path):
    return [picture for _, picture in FrameReader(path)]


def test_a_text_in_two_languages(built, tmp_path, capsys):
    out = tmp_path / "news.mp4"
    words = [f"avatar={built}", "text=Good day <b>all</b>. 今天很好。", f"out={out}", "device=cpu"]
    assert main(["speak", *words]) == 0
    said = capsys.readouterr().out
    assert "2 tags are not spoken" in said
    assert "news.srt with 2 subtitles" in said
    srt = out.with_suffix(".srt").read_text()
    assert srt.startswith("1\n00:00:00,400 --> ")
    assert "今天很好。" in srt
    seconds = len(read_audio(out)) / 16_000
    assert abs(probe(out).num_frames / 25 - seconds) < 0.1
    with av.open(str(out)) as container:
        assert "synthetic media" in container.metadata["comment"]


def test_the_mouth_rests_before_and_after_and_moves_between(built, tmp_path):
    from anchor.avatars import Avatar

    speak(avatar=built, text="Mama and papa.", out=tmp_path / "a.mp4", label="", device="cpu")
    shown = pictures(tmp_path / "a.mp4")
    avatar = Avatar.open(built)
    order, clip = avatar.speaking.order(len(shown)), avatar.speaking
    left, top, right, bottom = clip.faces.regions[0]

    def from_rest(n):
        rest = clip.rest_pictures[int(order[n])]
        return np.abs(shown[n].astype(int) - rest)[top:bottom, left:right].mean()

    assert from_rest(0) < 2
    assert from_rest(len(shown) - 1) < 2


def test_voice_presence_opens_before_the_sound_and_closes_after():
    samples = np.zeros(50 * 640, np.float32)
    samples[20 * 640 : 30 * 640] = 0.1
    presence = voice_presence(samples, 50)
    assert (presence[:14] == 0).all()
    assert (presence[20:30] == 1).all()
    assert (presence[38:] == 0).all()
    assert np.abs(np.diff(presence)).max() < 0.2


def test_dub_takes_a_video_or_an_avatar_and_labels_both(built, video, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("anchor.studio.dubbing.make_detector", lambda name: StandInDetector())
    one, other, plain = tmp_path / "one.mp4", tmp_path / "other.mp4", tmp_path / "plain.mp4"
    dub(video=video, checkpoint=checkpoint, speech=video, out=one, device="cpu")
    dub(avatar=built, speech=video, out=other, device="cpu")
    dub(video=video, checkpoint=checkpoint, speech=video, out=plain, label="", device="cpu")
    corner = [pictures(path)[5][4:14, 4:60].astype(int) for path in (one, other, plain)]
    assert np.abs(corner[0] - corner[2]).mean() > 20
    assert np.abs(corner[1] - corner[2]).mean() > 20
    for path in (one, other, plain):
        with av.open(str(path)) as container:
            assert "synthetic media" in container.metadata["comment"]
    with pytest.raises(ConfigError, match="Give video= and checkpoint="):
        dub(speech=video, out=one, video=video)
    with pytest.raises(ConfigError, match="has pictures and network of its own"):
        dub(speech=video, out=one, video=video, avatar=built)


def test_subtitles_are_two_short_lines_and_cover_the_sentence():
    long = "This sentence goes on and on, " * 8
    cues = make_cues([long, "今天" * 60, "x" * 100], [(1.0, 9.0), (9.5, 15.0), (15.0, 16.0)])
    for cue in cues:
        assert len(cue.lines) <= 2
        for line in cue.lines:
            assert sum(2 if ord(letter) > 0x2E80 else 1 for letter in line) <= 43
    assert cues[0].start_s == 1.0
    assert all(a.stop_s <= b.start_s + 1e-9 for a, b in pairwise(cues))
    assert make_srt(cues).count(" --> ") == len(cues)


def test_burnt_subtitles_stand_below_while_they_last(picture):
    cues = make_cues(["Hello"], [(0.4, 0.8)])
    shown = list(draw_titles([picture] * 30, "", cues))
    changed = [bool((one != picture).any()) for one in shown]
    assert changed == [10 <= n < 20 for n in range(30)]
    rows = np.flatnonzero((shown[12] != picture).any((1, 2)))
    assert rows.min() > 0.7 * len(picture)


def test_chinese_letters_need_a_font(picture, monkeypatch):
    monkeypatch.setattr("anchor.studio.titles.FONTS", ())
    with pytest.raises(ConfigError, match="No font with Chinese letters"):
        next(draw_titles([picture], "AI合成"))
    with pytest.raises(ConfigError, match="is no font that can be read"):
        next(draw_titles([picture], "AI", font=__file__))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({}, ConfigError, "Give one of text=, text_file=, script= and speech="),
        ({"text": "🎉"}, ConfigError, "no word in the text"),
        ({"text": "hi", "voice": ("xx",)}, ConfigError, "no voice 'xx'"),
        ({"text": "hi", "rate": 9}, ConfigError, "rate=9 is out of range"),
        ({"text": "hi", "out": "x.avi"}, MediaError, r"ends in \.mp4"),
    ],
)
def test_what_cannot_be_said(built, tmp_path, monkeypatch, change, kind, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=words):
        speak(**{"avatar": built, "out": tmp_path / "a.mp4", "device": "cpu", **change})
    assert list(tmp_path.iterdir()) == []
