"""Voices from a model on this machine: piper's, and VITS voices that sherpa-onnx runs. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from anchor.errors import ConfigError, ServiceError
from anchor.speech.synthesis import SoundChunk
from anchor.speech.text import Sentence

__all__ = ["PiperSynthesizer", "SherpaSynthesizer", "import_extra"]


def import_extra(name: str, extra: str) -> Any:
    """The module ``name`` of an optional package.

    Raises:
        ConfigError: it is not installed; says how to.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{error.name or name} is not installed. Run `pip install 'virtual-anchor[{extra}]'`."
        ) from error


class PiperSynthesizer:
    """A voice of piper-tts: ``VOICE.onnx`` with ``VOICE.onnx.json`` beside it; one chunk for each sentence of its own.

    Raises:
        ConfigError: piper-tts is not installed, or the files are no voice.
    """

    name = "piper"

    def __init__(self, path: Path) -> None:
        piper = import_extra("piper", "voices")
        about = path.with_name(f"{path.name}.json")
        missing = next((one for one in (path, about) if not one.is_file()), None)
        if missing is not None:
            raise ConfigError(
                f"tts=piper:{path}: there is no file {missing}. A voice is VOICE.onnx and VOICE.onnx.json."
            )
        try:
            self._voice = piper.PiperVoice.load(path, about)
        except Exception as error:  # whatever json and onnxruntime raise
            raise ConfigError(f"tts=piper:{path} is no voice of piper: {_first_line(error)}.") from None

    def stream(self, sentence: Sentence) -> Iterator[SoundChunk]:
        """The sound, as piper makes it."""
        for chunk in self._voice.synthesize(sentence.text):
            yield SoundChunk(np.asarray(chunk.audio_float_array, np.float32), int(chunk.sample_rate))


class SherpaSynthesizer:
    """A VITS voice that sherpa-onnx runs: a folder with one .onnx file, tokens.txt and lexicon.txt.

    Since its second version sherpa-onnx has no phonemes of its own: a voice that was exported for piper, without a
    lexicon, is one for :class:`PiperSynthesizer`.

    Raises:
        ConfigError: sherpa-onnx is not installed, or the folder is no voice.
    """

    name = "sherpa"

    def __init__(self, folder: Path, speaker: int = 0) -> None:
        sherpa = import_extra("sherpa_onnx", "voices")
        models = sorted(folder.glob("*.onnx")) if folder.is_dir() else []
        tokens, lexicon = folder / "tokens.txt", folder / "lexicon.txt"
        lacks = [one.name for one in (tokens, lexicon) if not one.is_file()]
        if len(models) != 1 or lacks:
            raise ConfigError(
                f"tts=sherpa:{folder} holds {len(models)} .onnx files and lacks {', '.join(lacks) or 'nothing else'}. "
                "A voice is a folder with one, tokens.txt and lexicon.txt; voices of piper are for tts=piper:FILE."
            )
        vits = sherpa.OfflineTtsVitsModelConfig(model=str(models[0]), tokens=str(tokens), lexicon=str(lexicon))
        rules = ",".join(str(path) for path in sorted(folder.glob("*.fst")))
        config = sherpa.OfflineTtsConfig(
            model=sherpa.OfflineTtsModelConfig(vits=vits, num_threads=1, provider="cpu"), rule_fsts=rules
        )
        if not config.validate():
            raise ConfigError(f"tts=sherpa:{folder} is no VITS voice; sherpa-onnx says why in the lines above.")
        try:
            self._voice, self._speaker = sherpa.OfflineTts(config), speaker
        except Exception as error:
            raise ConfigError(f"tts=sherpa:{folder} is no VITS voice: {_first_line(error)}.") from None

    def stream(self, sentence: Sentence) -> Iterator[SoundChunk]:
        """The sound, whole."""
        sound = self._voice.generate(sentence.text, sid=self._speaker, speed=1.0)
        if not len(sound.samples):
            raise ServiceError("The voice sherpa has no sound for this sentence: its lexicon knows none of the words.")
        yield SoundChunk(np.asarray(sound.samples, np.float32), int(sound.sample_rate))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
