"""An avatar speaks: pictures of its clips with the mouths of a speech, and at rest where nothing is said.

Shape suffixes: N frames, S side of the crops in pixels; mel_SM: S mel steps, M mel bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import nn

from anchor.avatars import Avatar
from anchor.avatars.avatar import AvatarClip
from anchor.inference.draw import draw_frames
from anchor.inference.paste import paste_mouth
from anchor.ops.silence import floor_frames
from anchor.preprocess.sound import SILENCE_DB, frame_levels_db
from anchor.timing import FPS

__all__ = ["perform", "voice_presence"]

BEFORE, AFTER = 3, 5  # frames: lips part before they are heard, and meet after
FADE = 3  # frames from rest to speech
SEAM = 4  # frames in which one clip dissolves into the next
BATCH = 16


def voice_presence(samples: np.ndarray, num_out: int, mel_SM: np.ndarray | None = None) -> np.ndarray:
    """float32 (num_out,) in [0, 1]: 1 where 16 kHz speech is heard, 0 in silence, a ramp between.

    What lies at the floor of ``mel_SM``, where that is given, is silence too, whatever the level: a closed pause.
    """
    loud = np.zeros(num_out, bool)
    levels = frame_levels_db(samples)[:num_out]
    loud[: len(levels)] = levels >= SILENCE_DB
    if mel_SM is not None:
        loud &= ~floor_frames(mel_SM, num_out)
    wide = np.zeros(num_out + 2 * FADE, bool)
    for shift in range(-BEFORE, AFTER + 1):
        wide[FADE : num_out + FADE] |= np.roll(np.pad(loud, AFTER), shift)[AFTER : num_out + AFTER]
    return np.convolve(wide.astype(np.float32), np.ones(2 * FADE + 1) / (2 * FADE + 1), "valid").astype(np.float32)


def perform(
    avatar: Avatar, net: nn.Module, samples: np.ndarray, mel_SM: np.ndarray, num_out: int,
    gestures: Sequence[tuple[float, str]] = (),
) -> Iterator[np.ndarray]:  # fmt: skip
    """``num_out`` pictures, uint8 RGB (H, W, 3), of ``avatar`` speaking 16 kHz ``samples``.

    ``gestures`` are actions of the avatar, (when in seconds, name): speaking goes on in their pictures.
    """
    steps = _walk(avatar, num_out, gestures)
    drawn = _draw(steps, net, voice_presence(samples, num_out, mel_SM), mel_SM)
    before, shown, since = None, None, SEAM
    for n, picture in enumerate(drawn):
        if n and steps[n][0] is not steps[n - 1][0]:
            before, since = shown, 0
        shown = picture
        if before is not None and since < SEAM:
            share = (since + 1) / (SEAM + 1)
            shown = np.rint(before + share * (picture.astype(np.float32) - before)).astype(np.uint8)
        since += 1
        yield shown


def _walk(avatar: Avatar, num_out: int, gestures: Sequence[tuple[float, str]]) -> list[tuple[AvatarClip, int]]:
    """The clip and its picture for every frame; an action is shown to its end, or until the next one begins."""
    speaking = avatar.speaking
    steps = [(speaking, int(place)) for place in speaking.order(num_out)]
    for when_s, name in sorted(gestures):
        clip, begin = avatar.actions[name], min(num_out, round(when_s * FPS))
        facts = clip.facts
        end = min(num_out, begin + facts.stop - facts.first)
        steps[begin:end] = [(clip, facts.first + n) for n in range(end - begin)]
        # Speaking goes on where it looks most like the gesture's end.
        place = facts.leave - speaking.facts.first if speaking is avatar.idle else 0
        steps[end:] = [(speaking, int(n)) for n in speaking.order(num_out - end, max(0, place))]
    return steps


def _draw(
    steps: Sequence[tuple[AvatarClip, int]], net: nn.Module, voice_N: np.ndarray, mel_SM: np.ndarray
) -> Iterator[np.ndarray]:
    """The pictures of the steps, each with its mouth."""
    num_out = len(steps)
    for begin in range(0, num_out, BATCH):
        batch = range(begin, min(begin + BATCH, num_out))
        said = [n for n in batch if voice_N[n] * steps[n][0].faces.presence[steps[n][1]] > 0]
        drawn_NSSC = np.zeros((0, 1, 1, 3), np.uint8)
        if said:
            crops_NSSC = np.stack([steps[n][0].faces.crop(steps[n][1]) for n in said])
            references_NSSC = np.stack([steps[n][0].faces.reference(steps[n][1]) for n in said])
            drawn_NSSC = draw_frames(net, crops_NSSC, references_NSSC, mel_SM, said, BATCH)
        for n in batch:
            clip, source = steps[n]
            rest = clip.rest_pictures[source] if voice_N[n] < 1 or n not in said else None
            if n not in said:
                assert rest is not None
                yield rest
                continue
            box, presence = clip.faces.boxes[source], float(clip.faces.presence[source])
            place = said.index(n)
            picture = paste_mouth(clip.pictures[source], box, drawn_NSSC[place], crops_NSSC[place], presence)
            if rest is not None:
                left, top, right, bottom = clip.faces.regions[source]
                mouth, closed = picture[top:bottom, left:right], rest[top:bottom, left:right]
                mouth[:] = np.rint(closed + voice_N[n] * (mouth.astype(np.float32) - closed)).astype(np.uint8)
            yield picture
