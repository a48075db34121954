"""What a session says and shows at every tick of its clock.

A tick lasts 40 ms: one picture and the sound that is heard while it is shown. Both leave together, so they cannot drift
apart. What is planned lies at most ``LOOKAHEAD`` ticks before what is played: an interruption has
nothing else to take back.

Shape suffixes: L samples of 16 kHz, M mel bins, S mel steps. ``sound_L4`` holds the same sound twice, so that it is cut
in one place: columns 0 to 2 are the samples of 48 kHz that people hear, column 3 is the 16 kHz that the network hears.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from anchor.ops.mel import N_FFT, log_mel
from anchor.timing import HOP_LENGTH, SAMPLE_RATE, SAMPLES_PER_FRAME, WINDOW_MEL_STEPS, WINDOW_RADIUS

__all__ = ["LOOKAHEAD", "Tick", "Timeline"]

HEARD_COLUMN = 3  # of sound_L4
LOOKAHEAD = 4  # ticks, 160 ms: a generator has that long for a picture, and an interruption waits for nothing longer
HURRY = 1  # ticks of planned silence that a speech which begins still waits for: time for its first mouth
RISE, FALL = 3, 5  # ticks in which the drawn mouth comes and goes: no jump between idling and speaking
START_SAMPLES = 5 * SAMPLES_PER_FRAME  # of streamed speech before it begins: a mouth hears 0.1 s ahead
# What a tick's mel window hears: its first step is centred where the frame two before begins, exactly, and a window of
# 50 ms stands around each step. One hop more on either side keeps the edges of the piece out.
LEAD_HOPS = N_FFT // 2 // HOP_LENGTH + 1
PAST = WINDOW_RADIUS * SAMPLES_PER_FRAME + LEAD_HOPS * HOP_LENGTH  # samples before the tick
KEPT = PAST + (LOOKAHEAD + 1) * SAMPLES_PER_FRAME  # an interruption goes back by what was planned
HEARD = (LEAD_HOPS + WINDOW_MEL_STEPS - 1 + LEAD_HOPS) * HOP_LENGTH  # samples in all


@dataclass(frozen=True)
class Tick:
    """One step of a session's clock."""

    number: int  # since the session began
    epoch: int  # how many interruptions came before it
    sound_L4: np.ndarray  # float32 (640, 4), what is heard while its picture is shown
    mel_MS: np.ndarray | None  # float32 (80, 16), what the mouth is drawn from; None where none is drawn
    presence: float  # of the drawn mouth: 0 is the avatar's own picture, 1 all of it
    is_speaking: bool  # sound of an utterance, not the silence around it


class Timeline:
    """Turns pieces of speech into ticks, and forgets them at an interruption.

    Speech arrives in pieces of any length (``say``), each of an epoch. Where a stream runs dry in the middle of an
    utterance there is silence until the next piece, and ``num_starved`` counts its ticks.
    """

    def __init__(self, lookahead: int = LOOKAHEAD) -> None:
        self.epoch = 0
        self.num_starved = 0
        self._lookahead = lookahead
        self._waiting: deque[np.ndarray] = deque()
        self._num_waiting = 0  # samples
        self._is_open = False  # more pieces of this utterance may come
        self._has_begun = False
        self._planned: deque[Tick] = deque()
        self._next = 0  # number of the tick to be planned
        self._past_L = np.zeros(KEPT, np.float32)  # of 16 kHz
        self._presence = 0.0

    @property
    def is_speaking(self) -> bool:
        """Whether anything of an utterance is waiting or planned."""
        return self._num_waiting > 0 or self._is_open or any(tick.is_speaking for tick in self._planned)

    @property
    def planned(self) -> tuple[Tick, ...]:
        """The ticks that are planned and not played yet."""
        return tuple(self._planned)

    @property
    def waiting_s(self) -> float:
        """Seconds of speech that are not planned yet."""
        return self._num_waiting / SAMPLE_RATE

    def say(self, sound_L4: np.ndarray, epoch: int, is_last: bool = True) -> bool:
        """Append speech, float32 (L, 4); says whether it was taken: what an interruption overtook is not.

        ``is_last=False`` keeps the utterance open: the next piece belongs to it.
        """
        if epoch != self.epoch:
            return False
        if len(sound_L4) and not self._num_waiting:
            self._take_back_silence()
        if len(sound_L4):
            self._waiting.append(np.asarray(sound_L4, np.float32))
            self._num_waiting += len(sound_L4)
        self._is_open = not is_last
        return True

    def interrupt(self) -> float:
        """Be silent from the next tick on; the seconds of speech that nobody will hear."""
        dropped = self._num_waiting + sum(SAMPLES_PER_FRAME for tick in self._planned if tick.is_speaking)
        self.epoch += 1
        self._waiting.clear()
        self._num_waiting, self._is_open, self._has_begun = 0, False, False
        if self._planned:
            # The mouth stands as the last picture that was shown left it, and closes from there.
            self._presence = self._planned[0].presence
            self._take_back(len(self._planned))
        return dropped / SAMPLE_RATE

    def plan(self, now: int) -> list[Tick]:
        """The ticks that are new up to ``now + lookahead``; those with a mel are to be drawn until they are played."""
        fresh = []
        while self._next <= now + self._lookahead:
            fresh.append(self._make())
            self._planned.append(fresh[-1])
            self._next += 1
        return fresh

    def pop(self, now: int) -> Tick:
        """The tick that is played now; older ones that nobody played are left out."""
        self.plan(now)
        while self._planned[0].number < now:
            self._planned.popleft()
        return self._planned.popleft()

    def _take_back_silence(self) -> None:
        """What is planned of silence with a closed mouth, but for the first ``HURRY`` ticks, is planned again."""
        idle = list(self._planned)[HURRY:]
        if idle and not any(tick.is_speaking or tick.presence for tick in self._planned):
            self._take_back(len(idle))

    def _take_back(self, count: int) -> None:
        self._next -= count
        heard = count * SAMPLES_PER_FRAME
        kept_L = self._past_L[:-heard] if heard < len(self._past_L) else self._past_L[:0]
        self._past_L = np.concatenate([np.zeros(len(self._past_L) - len(kept_L), np.float32), kept_L])
        for _ in range(count):
            self._planned.pop()

    def _make(self) -> Tick:
        sound_L4, is_speaking = self._take()
        step = 1 / RISE if is_speaking else -1 / FALL
        self._presence = min(1.0, max(0.0, self._presence + step))
        if self._presence < 1e-6:
            self._presence = 0.0
        mel_MS = self._mel(sound_L4) if self._presence > 0 else None
        self._past_L = np.concatenate([self._past_L[SAMPLES_PER_FRAME:], sound_L4[:, HEARD_COLUMN]])
        return Tick(self._next, self.epoch, sound_L4, mel_MS, self._presence, is_speaking)

    def _take(self) -> tuple[np.ndarray, bool]:
        """The sound of the next tick, and whether it is of an utterance."""
        silence_L4 = np.zeros((SAMPLES_PER_FRAME, 4), np.float32)
        if not self._num_waiting:
            if self._is_open and self._has_begun:
                self.num_starved += 1
            elif not self._is_open:
                self._has_begun = False
            return silence_L4, False
        if self._is_open and self._num_waiting < (SAMPLES_PER_FRAME if self._has_begun else START_SAMPLES):
            self.num_starved += self._has_begun
            return silence_L4, False
        self._has_begun = True
        place = 0
        while place < SAMPLES_PER_FRAME and self._waiting:
            piece = self._waiting.popleft()
            part = piece[: SAMPLES_PER_FRAME - place]
            silence_L4[place : place + len(part)] = part
            place += len(part)
            if len(piece) > len(part):
                self._waiting.appendleft(piece[len(part) :])
        self._num_waiting -= place
        return silence_L4, True

    def _mel(self, sound_L4: np.ndarray) -> np.ndarray:
        """What the mouth of this tick hears: the past, the tick, and what is waiting behind it."""
        heard_L = np.zeros(HEARD, np.float32)
        heard_L[:PAST] = self._past_L[-PAST:]
        place = PAST
        for piece in (sound_L4, *self._waiting):
            part = piece[: HEARD - place, HEARD_COLUMN]
            heard_L[place : place + len(part)] = part
            place += len(part)
            if place == HEARD:
                break
        return np.ascontiguousarray(log_mel(heard_L)[LEAD_HOPS : LEAD_HOPS + WINDOW_MEL_STEPS].T)
