"""Speech as the networks hear it: a log-mel spectrogram with 80 steps per second.

The parameters are those published with Wav2Lip (Prajwal et al. 2020, `hparams.py` of its repository), so weights
trained elsewhere keep their meaning. Shape suffixes: M mel bins (80), S mel steps, F frequency bins (401), L samples.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from anchor.errors import MediaError
from anchor.timing import HOP_LENGTH, MEL_FLOOR, NUM_MELS, SAMPLE_RATE

if TYPE_CHECKING:
    import torch

__all__ = ["MEL_PARAMETERS", "log_mel", "mel_config_hash"]

PRE_EMPHASIS = 0.97
N_FFT = WIN_LENGTH = 800  # samples, 50 ms
MEL_MIN_HZ, MEL_MAX_HZ = 55.0, 7600.0
MIN_AMPLITUDE = 1e-5  # -100 dB
REFERENCE_DB = 20.0
MEL_CEILING = -MEL_FLOOR

MEL_PARAMETERS = {
    "sample_rate": SAMPLE_RATE,
    "hop_length": HOP_LENGTH,
    "num_mels": NUM_MELS,
    "pre_emphasis": PRE_EMPHASIS,
    "n_fft": N_FFT,
    "win_length": WIN_LENGTH,
    "window": "hann",
    "padding": "reflect",
    "power": 1,
    "mel_scale": "slaney",
    "mel_norm": "slaney",
    "mel_min_hz": MEL_MIN_HZ,
    "mel_max_hz": MEL_MAX_HZ,
    "min_amplitude": MIN_AMPLITUDE,
    "reference_db": REFERENCE_DB,
    "range": [MEL_FLOOR, MEL_CEILING],
}


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The log-mel of 16 kHz mono speech: float32 (steps, 80) in [-4, 4], ``steps = 1 + len(samples) // 200``.

    Step ``s`` is centred on sample ``200 * s``. ``samples`` is float32 (L,) in [-1, 1]; sound shorter than half a
    window (25 ms) is completed with silence, and an empty array is one step of silence.

    Raises:
        MediaError: the samples are not one channel of finite floating-point numbers.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise MediaError(
            f"log_mel needs one channel of floating-point samples, got {samples.dtype} of shape {samples.shape}. "
            "Average the channels, and divide 16-bit samples by 32768."
        )
    if not np.isfinite(samples).all():
        bad = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise MediaError(f"The sound holds {samples[bad]} at {bad / SAMPLE_RATE:.3f} s. Export the recording again.")
    import torch

    steps = 1 + len(samples) // HOP_LENGTH
    wave_L = torch.zeros(max(len(samples), N_FFT // 2 + 1))  # reflection needs more than half a window
    wave_L[: len(samples)] = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    wave_L[1:] -= PRE_EMPHASIS * wave_L[:-1].clone()
    window, filters_MF = _window_and_filters()
    spectrum_FS = torch.stft(
        wave_L, N_FFT, HOP_LENGTH, WIN_LENGTH, window, center=True, pad_mode="reflect", return_complex=True
    ).abs()
    decibel_MS = 20.0 * torch.log10((filters_MF @ spectrum_FS).clamp_min(MIN_AMPLITUDE)) - REFERENCE_DB
    mel_MS = ((decibel_MS + 100.0) / 100.0 * (MEL_CEILING - MEL_FLOOR) + MEL_FLOOR).clamp(MEL_FLOOR, MEL_CEILING)
    return np.ascontiguousarray(mel_MS[:, :steps].T.numpy())


def mel_config_hash() -> str:
    """Twelve hex digits that change when any parameter of ``log_mel`` does."""
    return hashlib.sha256(json.dumps(MEL_PARAMETERS, sort_keys=True).encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=1)
def _window_and_filters() -> tuple[torch.Tensor, torch.Tensor]:
    """The Hann window (800,) and the mel filters (80, 401)."""
    import torch
    import torchaudio.functional as audio_functional  # seconds to import, and a hash of the parameters needs none of it

    filters_FM = audio_functional.melscale_fbanks(
        N_FFT // 2 + 1, MEL_MIN_HZ, MEL_MAX_HZ, NUM_MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return torch.hann_window(WIN_LENGTH), filters_FM.T.contiguous()
