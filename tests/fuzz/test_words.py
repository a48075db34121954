"""Words: arguments, configurations, tokens, texts to speak, what servers of voices and language models send."""

import asyncio
import json

from fuzzing import changed, fuzzed, mutated
from hypothesis import given
from hypothesis import strategies as st

from anchor.arguments import parse_arguments
from anchor.errors import ConfigError, ServiceError
from anchor.inference import infer
from anchor.media.ffmpeg import check_ffmpeg_args
from anchor.serving.access import Access
from anchor.serving.language_model import _events, _parse, _written
from anchor.speech.growing import GrowingText
from anchor.speech.pcm import PcmReader
from anchor.speech.text import clean_text, language_of, split_sentences
from launch.confidential import check_secrets
from launch.hints import check_names
from launch.hydra_guard import check_hydra
from launch.targets import check_targets

WORDS = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}={}".format, st.sampled_from(["out", "face", "speech", "checkpoint", "run_dir", "module.lr", ""]), st.text()
    ),
    st.sampled_from(
        ["-m", "--cfg", "--config-dir", "+a={_target_:os.system}", "~hydra", "a=https://u:p@h", "a=${b}", "@:="]
    ),
)
CONFIG = {
    "module": {
        "_target_": "lightning_modules.SyncNetModule",
        "lr": 1e-3,
        "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True},
    },
    "callbacks": {"a": {"_target_": "lightning_modules.callbacks.BestCheckpoint"}},
    "hydra": {
        "job": {"env_set": {"OMP_NUM_THREADS": "1"}},
        "job_logging": {"handlers": {"a": {"class": "logging.Handler"}}},
        "launcher": {"setup": []},
    },
}


def test_arguments(watch):
    @fuzzed()
    @given(st.lists(WORDS, max_size=5))
    def run(words):
        watch(parse_arguments, infer, words)
        watch(check_names, words)
        watch(check_secrets, words)
        watch(check_ffmpeg_args, words)

    run()


def test_configuration(watch):
    check_targets(CONFIG)  # imports what the targets name, which may take long
    check_hydra(CONFIG["hydra"])

    @fuzzed()
    @given(changed(CONFIG))
    def run(tree):
        watch(check_targets, tree)
        watch(check_secrets, tree)
        if isinstance(tree.get("hydra"), dict):
            watch(check_hydra, {**tree["hydra"], "overrides": {"hydra": ["a=b"]}})

    run()


def test_tokens(watch, tmp_path):
    tokens = {
        "a" * 20: {"name": "studio", "scopes": ["view", "speak"], "per_minute": 60},
        "b" * 16: {"scopes": ["admin"]},
    }

    def spend(path):
        access = Access.read(path)
        for token in (*tokens, "", "é", "\ud800"):
            if (key := access.find(token)) is not None:
                key.may("view")
                key.spend()

    @fuzzed()
    @given(changed(tokens), mutated(json.dumps(tokens).encode(), b"[" * 50_000))
    def run(tree, data):
        for content in (json.dumps(tree).encode(), data):
            (tmp_path / "tokens.json").write_bytes(content)
            watch(spend, tmp_path / "tokens.json")

    run()


SPOKEN = st.one_of(
    st.text(max_size=400),
    st.text(st.sampled_from("aA.!?…。！？；”\"') \n中文한국дà🎉<>/*_`#[](){}|&;\u200b"), max_size=400),
    st.sampled_from(
        ["<" * 5000, "<a " * 3000, "a." * 5000, "[" * 4000, "`" * 4000, "（" * 4000, "A. " * 3000, "\n" * 9000]
    ),
)


def test_texts(watch):
    def speak(text):
        cleaned, _ = clean_text(text)
        sentences = split_sentences(cleaned)
        assert all(sentence.text and sentence.parts for sentence in sentences)
        language_of(text)
        # What is spoken was written, in its order.
        place = 0
        for sentence in sentences:
            place = cleaned.index(sentence.text, place) + len(sentence.text)

    @fuzzed()
    @given(SPOKEN)
    def run(text):
        watch(speak, text)

    run()


def test_growing_texts(watch):
    def grow(pieces):
        growing = GrowingText()
        return [sentence.text for piece in pieces for sentence in growing.add(piece)] + [
            sentence.text for sentence in growing.end()
        ]

    @fuzzed()
    @given(st.lists(SPOKEN, max_size=6))
    def run(pieces):
        said = watch(grow, pieces)
        assert said is None or all(said)

    run()


def test_voice_stream(watch):
    wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0" + bytes(4000)

    def hear(data, cut):
        reader = PcmReader("The voice", 16_000)
        chunks = [*reader.add(data[:cut]), *reader.add(data[cut:]), *reader.end()]
        assert all(chunk.samples.ndim == 1 and chunk.sample_rate >= 8000 for chunk in chunks)

    @fuzzed()
    @given(mutated(wav, wav[:46]), st.integers(0, 5000))
    def run(data, cut):
        watch(hear, data, cut)

    run()


class Pieces:
    """A reply of a server, as the reader of its events meets it."""

    kind = "text/event-stream"

    def __init__(self, pieces):
        self._pieces = pieces

    async def pieces(self):
        for piece in self._pieces:
            yield piece


def test_language_model_stream(watch):
    event = {"choices": [{"delta": {"content": "Hello."}, "finish_reason": None}]}
    seed = b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"

    def read(pieces):
        async def gather():
            return [
                _written(_parse(data, "The model"), "delta", "The model")
                async for data in _events(Pieces(pieces), "The model")
                if data != b"[DONE]"
            ]

        return asyncio.run(gather())

    @fuzzed()
    @given(mutated(seed, b"data: " + b"[" * 50_000 + b"\n"), changed(event), st.integers(0, 90))
    def run(data, tree, cut):
        for text in (data, b"data: " + json.dumps(tree).encode() + b"\n"):
            watch(read, [text[:cut], text[cut:]], errors=(ServiceError, ConfigError))

    run()
