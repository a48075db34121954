"""The one clock of the project: frames, samples and mel steps are derived here and nowhere else.

Video runs at 25 frames per second and speech at 16 kHz, so a frame lasts 40 ms or 640 samples. One mel step lasts
12.5 ms, so a frame spans 3.2 mel steps and the window of five frames spans exactly sixteen. The published recipe
of Wav2Lip (Prajwal et al. 2020, arXiv 2008.10010) uses the same numbers.
"""

import numpy as np

SAMPLE_RATE = 16_000  # samples per second
HOP_LENGTH = 200  # samples, 12.5 ms
MEL_STEPS_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 80
NUM_MELS = 80  # mel bins
MEL_FLOOR = -4.0  # the value of silence in a normalised log-mel

FPS = 25
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640
WINDOW_FRAMES = 5  # 0.2 s, what the expert sees at once
WINDOW_RADIUS = WINDOW_FRAMES // 2  # frames on either side of the centre
WINDOW_MEL_STEPS = WINDOW_FRAMES * MEL_STEPS_PER_SECOND // FPS  # 16


def mel_span(frame: int) -> tuple[int, int]:
    """The mel steps ``[start, stop)`` heard while the five frames centred on ``frame`` are shown.

    This is the only place where frames become mel steps: the expert, the generator, evaluation and inference all
    ask here. ``start`` is ``3.2 * (frame - 2)`` rounded to the nearest step, at most 5 ms away; it is negative for
    the first two frames of a clip and may pass the end for the last two.
    """
    start = (16 * (frame - WINDOW_RADIUS) + 2) // 5  # round(3.2 x) in integers; a tie cannot occur
    return start, start + WINDOW_MEL_STEPS


def mel_window(mel_SM: np.ndarray, frame: int) -> np.ndarray:
    """The mel window of ``frame``: (80, 16) float32, silence where the clip has no sound.

    ``mel_SM`` is the log-mel of the whole clip, (steps, 80).
    """
    start, stop = mel_span(frame)
    window_MS = np.full((mel_SM.shape[1], WINDOW_MEL_STEPS), MEL_FLOOR, np.float32)
    first, last = max(start, 0), min(stop, len(mel_SM))
    if last > first:
        window_MS[:, first - start : last - start] = mel_SM[first:last].T
    return window_MS


def num_frames(num_samples: int) -> int:
    """How many whole frames fit into ``num_samples`` samples of 16 kHz speech."""
    return num_samples // SAMPLES_PER_FRAME
