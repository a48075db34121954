"""Text as users bring it."""

import pytest

from anchor.errors import ConfigError
from anchor.speech.synthesis import EspeakSynthesizer
from anchor.speech.text import MAX_CHARACTERS, clean_text, language_of, split_sentences


@pytest.mark.parametrize("text", ["", "   \n", "🎉🎉👍🏽", "<break time='1s'/>", "...!?"])
def test_nothing_to_say_is_a_sentence(text):
    with pytest.raises(ConfigError, match="no word in the text"):
        clean_text(text)


def test_what_is_too_long_says_how_much_is_taken():
    with pytest.raises(ConfigError, match="20001 characters, and 20000"):
        clean_text("a" * (MAX_CHARACTERS + 1))


def test_tags_and_emoji_are_left_out_and_said():
    text, notes = clean_text('<speak>Hi <prosody rate="x">there</prosody> 🎉.</speak> 3 < 5 and 7 > 2')
    assert text == "Hi there. 3 < 5 and 7 > 2"
    assert any("4 tags are not spoken" in note for note in notes)
    assert any("1 emoji" in note for note in notes)


def test_sentences_end_where_they_end():
    text = "Dr. Wu paid 3.50 dollars. Really?! “Yes.” 今天很好。你呢？”好。\nA new line"
    said = [sentence.text for sentence in split_sentences(text)]
    assert said[0] == "Dr. Wu paid 3.50 dollars."
    assert said[1] == "Really?!"
    assert "今天很好。" in said
    assert said[-1] == "A new line"


def test_each_sentence_has_its_language():
    parts = [
        sentence.parts for sentence in split_sentences("Good day. 我用 iPhone 打电话。 We met 张伟 there. Привет.")
    ]
    assert [[language for _, language in one] for one in parts] == [["en"], ["zh"], ["en", "zh", "en"], ["ru"]]
    assert language_of("こんにちは世界") == "ja"
    assert language_of("2026") == "en"


def test_a_voice_for_each_language_and_mandarin_is_no_row_of_code_points():
    voice = EspeakSynthesizer(("en-gb-x-rp+f3", "cmn+f2"))
    assert (voice.voices["en"], voice.voices["zh"]) == ("en-gb-x-rp+f3", "cmn+f2")
    chunks = list(voice.stream(split_sentences("We met 张伟 there.")[0]))
    assert len(chunks) == 3
    zh = sum(len(c.samples) / c.sample_rate for c in voice.stream(split_sentences("今天天气很好")[0]))
    assert zh < 3  # read as numbers it takes 8 s
    with pytest.raises(ConfigError, match="no voice 'xx'"):
        EspeakSynthesizer(("xx",))
