"""piper and sherpa-onnx themselves, with models that the test makes: the interfaces are real, the voices are not."""

import sys
import types

import numpy as np
import pytest
from tiny_voices import RATE, write_piper, write_recognizer, write_sherpa_voice

from anchor.errors import ConfigError
from anchor.speech.recognition import open_recognizer
from anchor.speech.text import split_sentences
from anchor.speech.voices import open_voices

SENTENCE = split_sentences("Good evening, everybody.")[0]


def sound_of(item):
    chunks = list(open_voices([item]).stream(SENTENCE))
    assert {chunk.sample_rate for chunk in chunks} == {RATE}
    return np.concatenate([chunk.samples for chunk in chunks])


def test_a_voice_of_piper(tmp_path):
    pytest.importorskip("piper", reason="needs piper-tts")
    heard = sound_of(f"piper:{write_piper(tmp_path)}")
    assert len(heard) > RATE / 2
    assert 0.1 < np.abs(heard).max() <= 1


def test_a_voice_of_sherpa(tmp_path):
    pytest.importorskip("sherpa_onnx", reason="needs sherpa-onnx")
    heard = sound_of(f"sherpa:{write_sherpa_voice(tmp_path)}")
    assert len(heard) > RATE / 2
    assert 0.1 < np.abs(heard).max() <= 0.25


def test_a_recogniser_of_sherpa(tmp_path):
    pytest.importorskip("sherpa_onnx", reason="needs sherpa-onnx")
    recognizer = open_recognizer(f"sherpa-zipformer-ctc:{write_recognizer(tmp_path)}")
    assert recognizer.hear(np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)) == "HELLO THERE"


@pytest.mark.parametrize(
    ("module", "open_one", "item", "words"),
    [
        ("piper", lambda item: open_voices([item]), "piper:{}/no.onnx", "there is no file"),
        ("piper", lambda item: open_voices([item]), "piper:{}/bad.onnx", "is no voice of piper"),
        (
            "sherpa_onnx",
            lambda item: open_voices([item]),
            "sherpa:{}/none",
            "holds 0 .onnx files and lacks tokens.txt, lexicon.txt",
        ),
        ("sherpa_onnx", open_recognizer, "sherpa-transducer:{}", "holds no .encoder"),
        ("faster_whisper", open_recognizer, "whisper:{}", "holds no model.bin"),
    ],
)
def test_a_model_that_is_none_says_what_is_missing(tmp_path, module, open_one, item, words):
    pytest.importorskip(module)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "bad.onnx.json").write_text("{}")
    with pytest.raises(ConfigError, match=words):
        open_one(item.format(tmp_path))


def test_what_is_not_installed_and_what_is_no_kind(tmp_path, monkeypatch):
    for module, item, extra in (
        ("piper", f"piper:{tmp_path}", "voices"),
        ("sherpa_onnx", f"sherpa:{tmp_path}", "voices"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"not installed. Run `pip install 'virtual-anchor\[{extra}\]'`"):
            open_voices([item])
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ConfigError, match=r"virtual-anchor\[asr\]"):
        open_recognizer(f"whisper:{tmp_path}")
    with pytest.raises(ConfigError, match="no recogniser of kind 'vosk'"):
        open_recognizer("vosk:x")
    with pytest.raises(ConfigError, match="is no folder"):
        open_recognizer("sherpa-sense-voice:/nowhere")


def test_a_recogniser_of_whisper_is_asked_as_its_package_wants_it(tmp_path, monkeypatch):
    """A stand-in for faster-whisper: its weights cannot be made here."""

    class WhisperModel:
        def __init__(self, path, device, compute_type, local_files_only):
            assert (path, local_files_only) == (str(tmp_path), True)

        def transcribe(self, samples, beam_size, condition_on_previous_text):
            assert samples.dtype == np.float32
            return iter([types.SimpleNamespace(text=" Hello"), types.SimpleNamespace(text=" there. ")]), None

    monkeypatch.setitem(sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=WhisperModel))
    (tmp_path / "model.bin").write_bytes(b"weights")
    assert open_recognizer(f"whisper:{tmp_path}").hear(np.zeros(16_000, np.float32)) == "Hello there."
