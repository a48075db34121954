"""Speech to text, from a model on this machine: faster-whisper and sherpa-onnx. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anchor.arguments import user_path
from anchor.errors import ConfigError
from anchor.speech.local import import_extra
from anchor.timing import SAMPLE_RATE

__all__ = ["Recognizer", "SherpaRecognizer", "WhisperRecognizer", "open_recognizer"]

# What sherpa-onnx calls a model, and the files of it that a folder must have.
SHERPA_KINDS = {
    "sense-voice": ("from_sense_voice", ("model",)),
    "paraformer": ("from_paraformer", ("paraformer",)),
    "zipformer-ctc": ("from_zipformer_ctc", ("model",)),
    "wenet-ctc": ("from_wenet_ctc", ("model",)),
    "nemo-ctc": ("from_nemo_ctc", ("model",)),
    "transducer": ("from_transducer", ("encoder", "decoder", "joiner")),
}


class Recognizer(Protocol):
    """Hears what was said."""

    name: str

    def hear(self, samples: np.ndarray) -> str:
        """The words in float32 (L,) of 16 kHz; an empty string where there are none. May take a second."""
        ...


class WhisperRecognizer:
    """faster-whisper: a folder with Whisper's weights for CTranslate2.

    Raises:
        ConfigError: faster-whisper is not installed, or the folder is no such model.
    """

    name = "whisper"

    def __init__(self, folder: Path) -> None:
        whisper = import_extra("faster_whisper", "asr")
        if not (folder / "model.bin").is_file():
            raise ConfigError(f"asr=whisper:{folder} holds no model.bin. Give a folder of a model for faster-whisper.")
        try:
            self._model = whisper.WhisperModel(str(folder), device="auto", compute_type="auto", local_files_only=True)
        except Exception as error:  # whatever CTranslate2 and tokenizers raise
            raise ConfigError(f"asr=whisper:{folder} is no model of faster-whisper: {str(error)[:200]}.") from None

    def hear(self, samples: np.ndarray) -> str:
        """The words, in the language that Whisper hears."""
        segments, _ = self._model.transcribe(samples, beam_size=1, condition_on_previous_text=False)
        return " ".join(segment.text.strip() for segment in segments).strip()


class SherpaRecognizer:
    """A model that sherpa-onnx runs: a folder with tokens.txt and one .onnx file, or three for a transducer.

    Where a folder holds an ``int8`` file beside another, it is taken.

    Raises:
        ConfigError: sherpa-onnx is not installed, or the folder is no such model.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        sherpa, self.name = import_extra("sherpa_onnx", "asr"), f"sherpa-{kind}"
        make, parts = SHERPA_KINDS[kind]
        tokens = folder / "tokens.txt"
        found: dict[str, Any] = {}
        for part in parts:
            files = sorted(
                folder.glob(f"*{part}*.onnx" if len(parts) > 1 else "*.onnx"), key=lambda one: "int8" not in one.name
            )
            if not files or not tokens.is_file():
                lacks = f"*{part}*.onnx" if not files else "tokens.txt"
                raise ConfigError(f"asr={self.name}:{folder} holds no {lacks}, which a model of this kind has.")
            found[part] = str(files[0])
        try:
            self._model = getattr(sherpa.OfflineRecognizer, make)(**found, tokens=str(tokens), num_threads=1)
        except Exception as error:
            raise ConfigError(f"asr={self.name}:{folder} is no such model: {str(error)[:200]}.") from None

    def hear(self, samples: np.ndarray) -> str:
        """The words."""
        stream = self._model.create_stream()
        stream.accept_waveform(SAMPLE_RATE, samples)
        self._model.decode_stream(stream)
        return str(stream.result.text).strip()


def open_recognizer(item: str) -> Recognizer:
    """The recogniser of ``asr=``: ``whisper:DIR`` or ``sherpa-KIND:DIR``.

    Raises:
        ConfigError: there is no such kind, or it cannot be used; says why.
    """
    kind, _, where = item.partition(":")
    folder = user_path("asr", where)
    if kind == "whisper" or kind.removeprefix("sherpa-") in SHERPA_KINDS:
        if not folder.is_dir():
            raise ConfigError(f"asr={item}: {folder} is no folder. Give the one that holds the model.")
        return (
            WhisperRecognizer(folder) if kind == "whisper" else SherpaRecognizer(kind.removeprefix("sherpa-"), folder)
        )
    kinds = ", ".join(f"sherpa-{name}" for name in SHERPA_KINDS)
    raise ConfigError(f"asr={item}: there is no recogniser of kind {kind!r}. Write KIND:DIR with whisper, {kinds}.")
