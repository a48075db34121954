"""What a microphone hears of the anchor's own voice: how late it comes back, how loud, and whether it is all there is.

What the speakers are given is known, piece by piece; what a room, a browser's buffer and a network make of it is
learnt. Everything goes by the power in a few bands, never by the waveform: clocks may drift and paths may change.

Shape suffixes: B bands, N pieces of 20 ms, D delays in pieces.
"""

from __future__ import annotations

from collections import deque

import numpy as np

__all__ = ["Echo"]

MOST_DELAY = 40  # pieces, 0.8 s, after which an echo has arrived: the network, the browser's buffer, the room
COMPARED = 16  # pieces, 0.32 s, whose shape says whether they follow what was played
LEARNT = 60  # pieces, 1.2 s, from which the delay is learnt
LEARN_EVERY = 10  # pieces
# Correlation of the shapes, the best over all delays.
FOLLOWS = KNOWN = 0.7
AROUND = 2  # pieces by which an echo may come earlier or later than it was learnt: sound travels in bunches
TAIL, TAIL_PIECES = 0.6, 8  # what is left of an echo's power a piece later: a room that is silent after half a second
FIRST_COUPLING = 0.15  # -8 dB: loudspeakers on the same desk, before anything is known of the room
DECAY = 0.96  # of the coupling each piece: 9 dB a second down
RISE, DOUBTFUL_RISE = 0.15, 0.05  # up slower than speech begins; the less where what is heard does not follow
LOUD_ENOUGH = 0.03  # of the loudest of late: below it a band of what is played says nothing of the coupling
FLOOR = 1e-4  # power that is added before logarithms are taken: about -60 dB of full scale


class Echo:
    """The path from the speakers to the microphone. ``quietest`` is the power in a band that counts as sound."""

    def __init__(self, num_bands: int, quietest: float) -> None:
        self._quietest = quietest
        self._played: deque[np.ndarray] = deque(maxlen=MOST_DELAY + LEARNT)
        self._heard: deque[np.ndarray] = deque(maxlen=LEARNT)
        self._num_heard = 0
        self._nothing_B = np.zeros(num_bands)
        self._floor_B = np.full(num_bands, FLOOR)
        self._coupling_B = np.full(num_bands, FIRST_COUPLING)  # of the loudest of late, while the delay is unknown
        self._late_coupling_B = np.full(num_bands, FIRST_COUPLING)  # of what was played that long ago
        self.delay: int | None = None  # pieces, once it is known
        self.follows = (
            False  # whether the last pieces are shaped like something that was played: the anchor's own voice
        )

    def play(self, power_B: np.ndarray) -> None:
        """Note a piece that the speakers are given."""
        self._played.append(power_B)

    def hear(self, power_B: np.ndarray, noise_B: np.ndarray, is_speech: bool) -> None:
        """Note a piece of the microphone; where nobody speaks into it, see whether it follows, and after what delay."""
        self._heard.append(power_B)
        self._num_heard += 1
        self._floor_B = 2 * noise_B + FLOOR
        if is_speech:
            return
        self.follows = bool((self._likeness(COMPARED) > FOLLOWS).any())
        if self._num_heard % LEARN_EVERY:
            return
        found_D = self._likeness(LEARNT)
        if len(found_D) and found_D.max() > KNOWN:
            self.delay = int(found_D.argmax())

    def loudest(self) -> np.ndarray:
        """(B,): the power that the echo in the last piece has at most, as far as is known."""
        return self._late_coupling_B * self._arriving() if self.delay is not None else self._coupling_B * self._late()

    def learn(self, power_B: np.ndarray) -> None:
        """How loud the room gives back what is played, from a piece in which nobody speaks.

        It is the most of late, so that a loud syllable is no surprise; but what does not follow teaches little, or a
        voice that begins would be taken for it.
        """
        late_B = self._late()
        self._coupling_B = self._learnt(self._coupling_B, power_B, late_B, late_B > self._quietest)
        if self.delay is not None:
            arriving_B = self._arriving()
            is_loud_B = (arriving_B > self._quietest) & (arriving_B > LOUD_ENOUGH * late_B)
            self._late_coupling_B = self._learnt(self._late_coupling_B, power_B, arriving_B, is_loud_B)

    def _learnt(
        self, coupling_B: np.ndarray, power_B: np.ndarray, echo_B: np.ndarray, is_playing_B: np.ndarray
    ) -> np.ndarray:
        heard_B = np.minimum(1.0, power_B / np.maximum(echo_B, self._quietest))
        risen_B = coupling_B + (RISE if self.follows else DOUBTFUL_RISE) * (heard_B - coupling_B)
        changed_B = np.where(heard_B > coupling_B, risen_B, np.maximum(heard_B, DECAY * coupling_B))
        return np.where(is_playing_B, changed_B, coupling_B)

    def _late(self) -> np.ndarray:
        """(B,): the loudest that may still be in the air."""
        played = list(self._played)[-MOST_DELAY:]
        return np.max(played, 0) if played else self._nothing_B

    def _arriving(self) -> np.ndarray:
        """(B,): the loudest that was played about as long ago as an echo takes, and the tail of what was before it."""
        assert self.delay is not None
        newest = len(self._played) - 1 - self.delay
        loudest_B = self._nothing_B
        for place in range(newest + AROUND, newest - AROUND - TAIL_PIECES - 1, -1):
            if 0 <= place < len(self._played):
                share = TAIL ** max(0, newest - AROUND - place)
                loudest_B = np.maximum(loudest_B, share * self._played[place])
        return loudest_B

    def _likeness(self, num_pieces: int) -> np.ndarray:
        """(D,): correlation of the microphone's last pieces with what was played, for every delay; empty if too short.

        Of the logarithm of the power: how each band rises and falls against the others and against its own mean.
        """
        if len(self._heard) < num_pieces or len(self._played) < num_pieces or self._late().max() < self._quietest:
            return np.zeros(0)
        coupling_B = self._coupling_B if self.delay is None else self._late_coupling_B
        heard_NB = np.log(np.array(self._heard)[-num_pieces:] + self._floor_B)
        played = np.log(np.array(self._played)[-(num_pieces + MOST_DELAY - 1) :] + self._floor_B / coupling_B)
        played_DBN = np.lib.stride_tricks.sliding_window_view(played, num_pieces, axis=0)[::-1]
        heard_BN = _shape(heard_NB.T)
        played_DBN = _shape(played_DBN)
        size_D = np.sqrt((played_DBN**2).sum((1, 2)) * (heard_BN**2).sum())
        return (played_DBN * heard_BN).sum((1, 2)) / (size_D + 1e-9)


def _shape(log_BN: np.ndarray) -> np.ndarray:
    """Without the mean of each band over time, and of each moment over the bands; (..., B, N)."""
    log_BN = log_BN - log_BN.mean(-1, keepdims=True)
    return log_BN - log_BN.mean(-2, keepdims=True)
