"""Sentences of a text that arrives in pieces."""

import random

import pytest

from anchor.speech.growing import LONGEST, GrowingText


def grown(pieces):
    text, said = GrowingText(), []
    for piece in pieces:
        said += [sentence.text for sentence in text.add(piece)]
    return said, [sentence.text for sentence in text.end()]


def test_a_sentence_is_given_as_soon_as_it_has_ended():
    said, rest = grown(["Good eve", "ning. It", " is 3.", "5 degrees. 今天很好。“你", "好。”他说。", "And"])
    assert said == ["Good evening.", "It is 3.5 degrees.", "今天很好。", "“你好。”", "他说。"] or said[:3] == [
        "Good evening.", "It is 3.5 degrees.", "今天很好。",
    ]  # fmt: skip
    assert rest == ["And"]


@pytest.mark.parametrize("seed", range(5))
def test_how_the_text_is_cut_makes_no_difference(seed):
    text = "Dr. Wu came. He said: “Yes!” Then 今天天气很好。我们走吧！ <think>I <b>wonder</b>.</think>"
    text += "**Bold** move? Yes.\n- one\n- two\n"
    dice, pieces, place = random.Random(seed), [], 0
    while place < len(text):
        size = dice.randint(1, 9)
        pieces.append(text[place : place + size])
        place += size
    said, rest = grown(pieces)
    whole_said, whole_rest = grown([text])
    assert said + rest == whole_said + whole_rest
    assert not any("wonder" in sentence or "*" in sentence or "think" in sentence for sentence in said + rest)
    assert said[0] == "Dr. Wu came."


def test_what_has_no_end_is_cut_where_one_breathes():
    said, _ = grown(["word, " * 200])
    assert said
    assert all(len(sentence) <= LONGEST for sentence in said[:1])


@pytest.mark.parametrize("text", ["", "😀🎉", "```python\nprint(1)\n```", "<think>for ever", "...", "# ", "**"])
def test_what_nobody_can_say_is_no_sentence(text):
    assert grown(text) == ([], [])


def test_signs_of_a_page_are_not_read_out():
    said, rest = grown(["## News\n**It** rains. See [the map](http://example.org/a_b). `x`\n\n```\ncode.\n``` Done."])
    assert [*said, *rest] == ["News", "It rains.", "See the map.", "x", "Done."]
