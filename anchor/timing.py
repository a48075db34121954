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
WINDOW_FRAMES = 5  # 0.2 s, what a generator hears around a frame and the classic expert sees at once
WINDOW_RADIUS = WINDOW_FRAMES // 2  # frames on either side of the centre
WINDOW_MEL_STEPS = WINDOW_FRAMES * MEL_STEPS_PER_SECOND // FPS  # 16


def frame_span(frame: int, frames: int = WINDOW_FRAMES) -> range:
    """The ``frames`` frames of the window of ``frame``: as many before it as after, of an even number one more before.

    Of five frames it is ``frame - 2`` to ``frame + 2``, of sixteen ``frame - 8`` to ``frame + 7``.
    """
    return range(frame - frames // 2, frame - frames // 2 + frames)


def window_centres(num_frames: int, frames: int = WINDOW_FRAMES) -> range:
    """The frames of a clip whose window of ``frames`` frames lies within it; none of a clip that is shorter."""
    return range(frames // 2, frames // 2 + max(0, num_frames - frames + 1))


def mel_steps(frames: int) -> int:
    """Mel steps of a window of ``frames`` frames: 16 for five, 52 for sixteen (51.2, and no part of a step is lost)."""
    return -(-frames * MEL_STEPS_PER_SECOND // FPS)


def mel_span(frame: int, frames: int = WINDOW_FRAMES) -> tuple[int, int]:
    """The mel steps ``[start, stop)`` heard while the window of ``frame`` is shown, of five frames or of ``frames``.

    This is the only place where frames become mel steps: the expert, the generator, evaluation and inference all
    ask here. ``start`` is 3.2 times the window's first frame rounded to the nearest step, at most 5 ms away; it is
    negative for the first frames of a clip and may pass the end for the last.
    """
    start = (16 * frame_span(frame, frames).start + 2) // 5  # round(3.2 x) in integers; a tie cannot occur
    return start, start + mel_steps(frames)


def mel_window(mel_SM: np.ndarray, frame: int, frames: int = WINDOW_FRAMES) -> np.ndarray:
    """The mel window of ``frame``: (80, 16) float32, or (80, ``mel_steps(frames)``); silence where there is no sound.

    ``mel_SM`` is the log-mel of the whole clip, (steps, 80).
    """
    start, stop = mel_span(frame, frames)
    window_MS = np.full((mel_SM.shape[1], stop - start), MEL_FLOOR, np.float32)
    first, last = max(start, 0), min(stop, len(mel_SM))
    if last > first:
        window_MS[:, first - start : last - start] = mel_SM[first:last].T
    return window_MS


def num_frames(num_samples: int) -> int:
    """How many whole frames fit into ``num_samples`` samples of 16 kHz speech."""
    return num_samples // SAMPLES_PER_FRAME
