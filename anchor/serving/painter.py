"""The picture and the sound of a tick, encoded: pictures in a worker thread, sound where the clock is.

Shape suffixes: H W pixels of the picture, S side of the crops, h = S // 2, C colour (RGB).
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from anchor.inference.paste import paste_mouth
from anchor.serving.avatar import StagePictures, Step
from anchor.serving.encoding import AudioEncoder, Kind, Packet, VideoEncoder
from anchor.serving.timeline import Tick

__all__ = ["Painter"]

DISSOLVE = 5  # pictures, 0.2 s, in which one stretch of the avatar becomes another
LABEL_SHARE = 0.032  # of the picture's height: the letters of the label


class Painter:
    """Pastes, labels and encodes for one session; one call at a time.

    Args:
        stage: the avatar's pictures.
        label: what stands in the corner of every picture; empty for nothing.
    """

    def __init__(self, stage: StagePictures, label: str = "") -> None:
        self.stage, self._label = stage, label
        self._video: VideoEncoder | None = None
        self._audio: dict[Kind, AudioEncoder] = {}
        self._shown: np.ndarray | None = None
        self._left: np.ndarray | None = None  # the last picture before a cut
        self._dissolved = DISSOLVE

    def change(self, stage: StagePictures) -> None:
        """Another avatar of the same size."""
        assert (stage.width, stage.height) == (self.stage.width, self.stage.height), "one size a session"
        self.stage = stage
        self._left, self._dissolved = self._shown, 0

    def sound(self, tick: Tick, kinds: frozenset[Kind]) -> list[Packet]:
        """The sound of one tick in those of ``kinds`` that are sound: a third of a millisecond."""
        packets = []
        for kind in ("opus", "aac"):
            if kind not in kinds:
                self._audio.pop(kind, None)  # who comes later begins with an encoder that knows nothing old
                continue
            first_sample = tick.number * 3 * len(tick.sound_L4)
            if kind not in self._audio or self._audio[kind].position != first_sample:  # nobody listened in between
                self._audio[kind] = AudioEncoder(kind, first_sample)
            packets += self._audio[kind].encode(tick.sound_L4[:, :3].reshape(-1))
        return packets

    def paint(self, tick: Tick, step: Step, mouth: tuple[int, np.ndarray] | None, wants_key: bool) -> list[Packet]:
        """The picture of one tick."""
        if self._video is None:
            self._video = VideoEncoder(self.stage.width, self.stage.height)
        if wants_key:
            self._video.want_key()
        return self._video.encode(self.picture(tick, step, mouth), tick.number)

    def picture(self, tick: Tick, step: Step, mouth: tuple[int, np.ndarray] | None) -> np.ndarray:
        """uint8 RGB (H, W, 3): the avatar with the mouth of this tick."""
        picture = self._with_mouth(tick, step.number, mouth)[: self.stage.height, : self.stage.width]
        if step.is_cut:
            self._left, self._dissolved = self._shown, 0
        if self._dissolved < DISSOLVE and self._left is not None:
            self._dissolved += 1
            share = self._dissolved / (DISSOLVE + 1)
            picture = cv2.addWeighted(picture, share, self._left, 1 - share, 0)
        self._shown = picture
        return self._labelled(picture) if self._label else picture

    def _with_mouth(self, tick: Tick, number: int, mouth: tuple[int, np.ndarray] | None) -> np.ndarray:
        stage = self.stage
        if mouth is None:
            return stage.rest(number)
        drawn_for, mouth_hSC = mouth
        original_SSC = stage.crop(drawn_for)
        drawn_SSC = original_SSC.copy()
        drawn_SSC[len(drawn_SSC) - len(mouth_hSC) :] = mouth_hSC
        presence = float(stage.presence_N[number])
        picture = paste_mouth(stage.picture(number), stage.boxes_N4[number], drawn_SSC, original_SSC, presence)
        if tick.presence < 1:  # the mouth comes from rest, or goes there
            left, top, right, bottom = (int(side) for side in stage.regions_N4[number])
            place = slice(top, bottom), slice(left, right)
            if bottom > top and right > left:
                rest = np.ascontiguousarray(stage.rest(number)[place])
                drawn = np.ascontiguousarray(picture[place])
                picture[place] = cv2.addWeighted(drawn, tick.presence, rest, 1 - tick.presence, 0)
        return picture

    def _labelled(self, picture: np.ndarray) -> np.ndarray:
        label_HWC, alpha_HW1 = _render_label(self._label, self.stage.height)
        height, width = label_HWC.shape[:2]
        margin = height // 2
        place = slice(margin, margin + height), slice(margin, margin + width)
        if margin + width > picture.shape[1] or margin + height > picture.shape[0]:
            return picture
        result = picture.copy()
        result[place] = (alpha_HW1 * label_HWC + (1 - alpha_HW1) * result[place]).astype(np.uint8)
        return result


@functools.lru_cache(maxsize=8)
def _render_label(text: str, height: int) -> tuple[np.ndarray, np.ndarray]:
    """White letters on a dark ground, and how much of it covers the picture."""
    scale = max(0.3, LABEL_SHARE * height / 22)  # Hershey letters are 22 px high at scale 1
    (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    pad = max(2, high // 3)
    label = np.zeros((high + below + 2 * pad, wide + 2 * pad, 3), np.uint8)
    cv2.putText(label, text, (pad, pad + high), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    alpha = np.maximum(0.45, label[..., :1] / 255.0).astype(np.float32)
    return label, alpha
