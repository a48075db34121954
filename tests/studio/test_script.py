"""A news item from a script: read, checked, and seen in the video."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchor.__main__ import main
from anchor.avatars import Avatar
from anchor.errors import ConfigError
from anchor.media.audio import read_audio
from anchor.media.reader import FrameReader
from anchor.studio import speak, titles
from anchor.studio.narration import PAUSE_S
from anchor.studio.performance import _walk
from anchor.studio.script import read_script
from anchor.studio.stage import Stage

DOCS = Path(__file__).parents[2] / "docs" / "speak.md"
RED, GREEN = (200, 30, 30), (30, 160, 60)


@pytest.fixture
def desk(tmp_path):
    """A folder with two pictures, and one outside it."""
    folder = tmp_path / "desk"
    folder.mkdir()
    for name, colour in (("map.png", RED), ("road.jpg", GREEN)):
        Image.new("RGB", (300, 200), colour).save(folder / name)
    Image.new("RGB", (30, 20)).save(tmp_path / "secret.png")
    return folder


def written(folder, text, name="news.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_marks_keep_their_place_and_pauses_their_length(desk):
    text = "Good evening. {wave} Here is {nod}the news {pause 0.8} of 🎉 today. {pause}"
    (item,) = read_script(written(desk, f'- "{text}"'), PAUSE_S).items
    assert [beat.sentence.text for beat in item.beats] == ["Good evening.", "Here is the news", "of today."]
    assert [beat.rest_s for beat in item.beats] == [PAUSE_S, 0.8, 0.5]
    assert item.beats[1].gestures == ((0.0, "wave"), (6 / 13, "nod"))


def test_markdown_says_the_same_as_yaml(desk):
    markdown = """---
size: 640x360
---
# Rain in the north

<!-- for the anchor alone: do not hurry -->
![beside](map.png)
It rained all day. {wave}

![](map.png)
Roads are closed.

---

![]()
Good night.
"""
    yaml = """
size: 640x360
items:
  - {text: "It rained all day. {wave}", title: Rain in the north, picture: map.png}
  - {text: Roads are closed., picture: map.png}
  - {picture: map.png, pause: 1.0}
  - Good night.
"""
    one = read_script(written(desk, markdown, "news.md"), PAUSE_S)
    other = read_script(written(desk, yaml), PAUSE_S)
    assert one == other
    assert one.size == (640, 360)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a list of items"),
        ("items: {a: 1}", "needs a list of items"),
        ("items: []", "has no paragraph"),
        ("- text: [", "is no YAML in line"),
        ("- &a [*a]", "item 1 is no text and no set of keys"),
        ("- 7", "item 1 is no text"),
        ("- {txt: hello}", r"'txt' is unknown. Did you mean text\?"),
        ("item: []\nitems: [hello]", "'item' is unknown"),
        ("- {text: 2026}", "text is 2026, which is no text"),
        ("- {title: hello}", "neither text nor pause"),
        ("- {pause: 1}", "no word to speak"),
        ('- "🎉🎉"', "neither text nor pause"),
        ("- {text: a, pause: 0}", "out of range"),
        ("- {text: a, pause: soon}", "out of range"),
        ("- '{pause 99} hello'", "out of range"),
        ("- {text: a, layout: left}", "no layout 'left'"),
        ("- {text: a, layout: inset}", "needs a picture"),
        ("- {text: a, picture: nowhere.png}", "no file nowhere.png"),
        ("- {text: a, picture: ../secret.png}", "lies outside the script's folder"),
        ("- {text: a, picture: /etc/hostname}", "lies outside the script's folder"),
        ("- {text: a, picture: link.png}", "lies outside the script's folder"),
        ("- {text: a, picture: 'http://x/a.png'}", "is no file"),
        ("- {text: a, picture: 3}", "a file name"),
        (f"- {{text: a, title: {'x' * 81}}}", "81 characters"),
        ("size: huge\nitems: [a]", "size 'huge' is none"),
        ("size: 9999x9999\nitems: [a]", "is none"),
        ("background: red\nitems: [a]", "is no colour"),
        (f"- {'word ' * 5000}", "24999 characters"),
        ("x" * 600_000, "600000 bytes"),
    ],
)
def test_a_bad_script_is_one_sentence(desk, text, words):
    (desk / "link.png").symlink_to(desk.parent / "secret.png")
    with pytest.raises(ConfigError, match=words) as caught:
        read_script(written(desk, text), PAUSE_S)
    assert "news.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("news.yaml", "- 'Hello {dance}'", r"\{dance\} is no action of Me. It has wave"),
        ("news.yaml", "- {text: hello, picture: news.yaml}", "item 1: .*news.yaml is no picture"),
        ("news.txt", "hello", "is no script"),
        ("news.md", "", "has no paragraph"),
    ],
)
def test_nothing_is_made_of_a_bad_script(built, desk, name, text, words, capsys):
    path = written(desk, text, name)
    assert main(["speak", f"avatar={built}", f"script={path}", f"out={desk / 'news.mp4'}", "device=cpu"]) == 2
    said = capsys.readouterr().err
    assert re.search(words, said), said
    assert said.count("\n") == 1
    assert not list(desk.glob("*.mp4"))


def test_a_binary_file_and_two_sources_are_refused(built, desk):
    path = desk / "news.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        read_script(path, PAUSE_S)
    with pytest.raises(ConfigError, match="Give one of text="):
        speak(avatar=built, out=desk / "a.mp4", script=path, text="hello", device="cpu")


def test_a_gesture_is_seen_to_its_end_and_speaking_goes_on(built):
    avatar = Avatar.open(built)
    wave = avatar.actions["wave"]
    length = wave.facts.stop - wave.facts.first
    steps = _walk(avatar, 100, [(1.0, "wave"), (3.9, "wave"), (99.0, "wave")])
    assert len(steps) == 100
    assert steps[24][0] is avatar.speaking
    assert [place for clip, place in steps[25 : 25 + length] if clip is wave] == list(
        range(wave.facts.first, wave.facts.stop)
    )
    assert steps[25 + length][0] is avatar.speaking
    assert steps[98][0] is wave
    avatar.close()


LAYOUTS = """
size: 320x180
items:
  - {text: One two three., picture: map.png, layout: beside, title: On the left}
  - {text: One two three., slides: [map.png, road.jpg], layout: picture}
  - {text: One two three., picture: road.jpg, layout: inset}
  - One two three.
"""


def test_layouts_are_where_they_should_be(desk):
    script = read_script(written(desk, LAYOUTS), PAUSE_S)
    anchor = np.full((100, 120, 3), (90, 90, 220), np.uint8)
    shown = list(Stage(script, [0.0, 1.0, 2.0, 3.0], 4.0, (0.5, 0.5), None).frames([anchor] * 100))
    assert {frame.shape for frame in shown} == {(180, 320, 3)}

    def at(number, x, y):
        return shown[number][y, x].astype(int)

    near = lambda colour, pixel: np.abs(pixel - np.array(colour)).max() < 12  # noqa: E731
    assert near((90, 90, 220), at(20, 60, 60))
    assert near(RED, at(20, 220, 90))
    assert not near(RED, at(20, 220, 138)), "the title"
    assert near(RED, at(36, 160, 90))
    assert near(GREEN, at(49, 160, 90)), "the slides share the time"
    assert near(GREEN, at(70, 60, 60))
    assert near((90, 90, 220), at(70, 284, 144))
    assert near((90, 90, 220), at(95, 160, 90))
    assert not near((90, 90, 220), at(95, 10, 90)), "what surrounds a picture of another shape is dim"
    between = at(27, 60, 60)
    assert not near(RED, between), "one dissolves into the next"
    assert not near((90, 90, 220), between)
    assert near(RED, at(36, 60, 60))


def test_the_script_of_the_docs_becomes_a_video(built, desk, monkeypatch, capsys):
    """The page's own script and command, with pictures of its names."""
    text = DOCS.read_text(encoding="utf-8")
    script = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1]
    command = next(line for line in text.splitlines() if "script=" in line and line.startswith("anchor speak"))
    for name in set(re.findall(r"[\w-]+\.(?:png|jpg)", script)):
        Image.new("RGB", (300, 200), RED).save(desk / name)
    written(desk, script.replace("1280x720", "320x180"))
    monkeypatch.chdir(desk)
    monkeypatch.setattr(titles, "FONTS", (*titles.FONTS, titles.PLAIN_FONT))  # boxes where no font has its letters
    words = [word for word in command.partition("#")[0].split()[2:] if not word.startswith("avatar=")]
    assert main(["speak", f"avatar={built}", "device=cpu", *words]) == 0
    assert "subtitles" in capsys.readouterr().out
    frames = [frame for _, frame in FrameReader(desk / "news.mp4")]
    assert frames[0].shape == (180, 320, 3)
    assert abs(len(frames) / 25 - len(read_audio(desk / "news.mp4")) / 16_000) < 0.1
    red = [np.abs(frame[90, 220].astype(int) - np.array(RED)).max() < 40 for frame in frames]
    assert any(red)
    assert not red[3]
    srt = (desk / "news.srt").read_text(encoding="utf-8")
    assert srt.count("-->") >= 4
    assert "{" not in srt
