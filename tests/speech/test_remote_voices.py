"""Voices of other servers, met as stand-ins that speak their protocols and misbehave as told."""

import asyncio
import shlex
import time
from pathlib import Path

import numpy as np
import pytest
from talk_servers import RATE, TalkServer, tone, wav_header

from anchor.arguments import parse_arguments
from anchor.errors import ConfigError, ServiceError
from anchor.serving.serve import serve
from anchor.speech.http import Bounds
from anchor.speech.pcm import PcmReader
from anchor.speech.remote import KINDS, HttpVoice
from anchor.speech.synthesis import SoundChunk
from anchor.speech.text import split_sentences
from anchor.speech.voices import VoiceChain, open_voices
from anchor.studio.narration import narrate

HASTY = Bounds(connect_s=0.5, first_s=0.5, gap_s=0.6, total_s=20.0, most_bytes=2**22)
QUERIES = {
    "xtts": "speaker=Ann",
    "cosyvoice": "spk_id=ann&rate=24000",
    "gpt-sovits": "ref_audio_path=ann.wav&prompt_lang=en&prompt_text=hello",
    "openai": "model=tts&voice=ann",
}
ENGLISH, CHINESE = split_sentences("Good evening everybody.")[0], split_sentences("今天天气很好。")[0]


@pytest.fixture(scope="module")
def shared_server():
    running = TalkServer()
    yield running
    running.stop()


@pytest.fixture
def server(shared_server):
    shared_server.faults.clear()
    shared_server.requests.clear()
    shared_server.seconds, shared_server.gap_s = 0.6, 0.0
    return shared_server


def opened(server, kind):
    return HttpVoice(kind, f"{server.url}?{QUERIES[kind]}", HASTY)


def spoken(voice, sentence=ENGLISH):
    async def gather():
        return [chunk async for chunk in voice.flow(sentence)]

    return asyncio.run(asyncio.wait_for(gather(), 30))


@pytest.mark.parametrize("kind", KINDS)
def test_the_sound_of_a_server_arrives_whole_and_at_its_rate(server, kind):
    server.gap_s = 0.03
    chunks = spoken(opened(server, kind))
    assert {chunk.sample_rate for chunk in chunks} == {RATE}
    heard = np.concatenate([chunk.samples for chunk in chunks])
    assert np.array_equal(heard, tone(0.6).astype(np.float32) / 32768), "to the sample, across odd pieces and headers"
    assert len(chunks) > 1, "piece by piece"


def test_requests_have_the_shapes_that_the_servers_know(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHOR_TTS_KEY", "secret-of-the-voice")
    for kind in KINDS:
        spoken(opened(server, kind), CHINESE)
    prompt = tmp_path / "prompt.wav"
    prompt.write_bytes(wav_header(16_000, 0))
    spoken(HttpVoice("cosyvoice", f"{server.url}/inference_zero_shot?prompt_text=hello&prompt_wav={prompt}", HASTY))
    sent = {path: body for path, _, body in server.requests}
    assert sent["/tts_stream"] == {
        "text": "今天天气很好。", "language": "zh-cn", "speaker_embedding": [0.1, 0.2], "gpt_cond_latent": [[0.3]],
        "add_wav_header": True, "stream_chunk_size": "20",
    }  # fmt: skip
    assert sent["/inference_sft"] == {"tts_text": "今天天气很好。", "spk_id": "ann"}
    assert sent["/inference_zero_shot"]["prompt_wav"] == prompt.read_bytes()
    assert sent["/tts"] == {
        "text": "今天天气很好。", "text_lang": "zh", "media_type": "wav", "streaming_mode": True,
        "ref_audio_path": "ann.wav", "prompt_lang": "en", "prompt_text": "hello",
    }  # fmt: skip
    assert sent["/v1/audio/speech"] == {
        "input": "今天天气很好。", "response_format": "pcm", "model": "tts", "voice": "ann",
    }  # fmt: skip
    assert all(headers["Authorization"] == "Bearer secret-of-the-voice" for _, headers, _ in server.requests)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hangs", "did not answer in"),
        ("stops", "sent nothing for"),
        ("dies", "broke off in the middle"),
        ("refuses", "answered with status 401"),
        ("moved", "answered with status 302"),
        ("page", "sent text/html, which is no sound"),
        ("json", "sent JSON, and WAV or int16"),
        ("mp3", "sent MP3, and WAV or int16"),
        ("noise", "noise at full level"),
        ("empty", "sent no sound"),
        ("endless", "speaks 23 characters for more than"),
    ],
)
def test_a_server_that_fails_is_one_sentence_in_bounded_time(server, fault, words, monkeypatch):
    monkeypatch.setenv("ANCHOR_TTS_KEY", "secret-of-the-voice")
    server.faults["/v1/audio/speech"] = [fault]
    began = time.monotonic()
    with pytest.raises(ServiceError, match=words) as caught:
        spoken(opened(server, "openai"))
    assert time.monotonic() - began < 15
    assert "secret-of-the-voice" not in str(caught.value)


def test_a_server_that_is_not_there_and_a_speaker_that_is_not():
    with pytest.raises(ServiceError, match="cannot be reached"):
        spoken(HttpVoice("openai", "http://127.0.0.1:9?model=a&voice=b", HASTY))


def test_an_unknown_speaker_is_told_who_there_is(server):
    with pytest.raises(ServiceError, match=r"has no speaker 'Zoe'. It has Ann"):
        spoken(HttpVoice("xtts", f"{server.url}?speaker=Zoe", HASTY))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("festival", "no voice of kind 'festival'"),
        ("xx=espeak", "'xx' is no language"),
        ("xtts:", "is no address"),
        ("xtts:ftp://a", "is no address"),
        ("xtts:http://me:pass@a?speaker=Ann", "end up in logs"),
        ("xtts:http://a", r"lacks speaker. Write http://a\?speaker="),
        ("gpt-sovits:http://a?prompt_lang=zh", "lacks ref_audio_path"),
        ("cosyvoice:http://a?prompt_wav=/nowhere.wav", "cannot be read"),
        ("openai:http://a?model=a&voice=b&rate=fast", "rate=fast is no rate"),
        ("openai:http://a?model=a&voice=b&rate=\u00b2", "8000 to 96000 Hz and a multiple of 25"),
        ("openai:http://a?model=a&voice=b&rate=47999", "8000 to 96000 Hz and a multiple of 25"),
        ("espeak:xx", "no voice 'xx'"),
    ],
)
def test_a_voice_that_is_none_is_refused_before_anything_begins(item, words):
    with pytest.raises(ConfigError, match=words):
        open_voices([item])


def test_the_next_voice_says_the_whole_sentence_and_the_one_that_failed_rests(server):
    server.faults["/v1/audio/speech"], server.gap_s = ["dies"], 0.05
    chain = open_voices([f"openai:{server.url}?{QUERIES['openai']}", "espeak"])
    told = []

    async def speak():
        return [chunk async for chunk in chain.flow(ENGLISH, told.append)]

    first = asyncio.run(speak())
    assert first[0].sample_rate == RATE, "what was there before the line broke"
    assert first[-1].sample_rate == 22_050
    assert len(told) == 1
    assert "broke off" in told[0]
    assert "espeak speaks instead" in told[0]
    asyncio.run(speak())
    assert server.paths() == ["/v1/audio/speech"], "it rests"


def test_a_file_never_holds_half_a_sentence(server, capsys):
    server.faults["/v1/audio/speech"] = ["dies"]
    voices = open_voices([f"openai:{server.url}?{QUERIES['openai']}", "espeak"])
    plain = narrate([ENGLISH], open_voices(["espeak"]))
    assert np.array_equal(narrate([ENGLISH], voices).samples, plain.samples)
    assert "espeak speaks instead" in capsys.readouterr().out


def test_each_language_has_its_voice(server):
    chain = open_voices([f"zh=openai:{server.url}?{QUERIES['openai']}", "espeak"])
    chunks = list(chain.stream(split_sentences("We met 张伟 there.")[0]))
    assert chunks[0].sample_rate == 22_050
    assert RATE in {chunk.sample_rate for chunk in chunks}
    assert [body["input"] for _, _, body in server.requests] == ["张伟"]
    with pytest.raises(ServiceError, match=r"No voice of tts= speaks en"):
        list(open_voices([f"zh=openai:{server.url}?{QUERIES['openai']}"]).stream(ENGLISH))


def test_numbers_that_are_none_never_reach_the_ear():
    class Broken:
        name = "broken"

        async def flow(self, sentence):
            yield SoundChunk(np.float32([np.nan, np.inf, -7.0, 0.5]), 16_000)

    (chunk,) = VoiceChain([(Broken(), "")]).stream(ENGLISH)
    assert chunk.samples.tolist() == [0.0, 1.0, -1.0, 0.5]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (wav_header(16_000).replace(b"\x10\x00data", b"\x18\x00data"), "24 bits"),
        (wav_header(4_000), "4000 Hz"),
        (b"RIFF" + bytes(5000), "WAV without samples"),
        (b"RIFF" + bytes(4) + b"WAVEfmt data", "does not say its format"),
    ],
)
def test_a_wav_of_another_kind_says_which(head, words):
    with pytest.raises(ServiceError, match=words):
        list(PcmReader("It", 16_000).add(head + bytes(100)))


def test_the_voices_of_the_docs_can_be_opened():
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("anchor serve") and "tts=" in line]
    arguments = parse_arguments(serve, shlex.split(line)[2:])
    assert [item.partition(":")[0] for item in arguments["tts"]] == ["zh=gpt-sovits", "espeak"]
    open_voices(arguments["tts"])
