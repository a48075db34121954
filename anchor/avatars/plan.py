"""Which part of a video becomes which clip.

Shape suffixes: T frames of the source.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anchor.avatars.package import MAX_CLIPS, MAX_FRAMES, Kind, Loop, check_name
from anchor.errors import ConfigError, FaceError
from anchor.preprocess.sound import SILENCE_DB
from anchor.timing import FPS

__all__ = ["Stretch", "check_stretch", "choose_idle", "last_second", "parse_points", "parse_stretches"]

MIN_FRAMES = 25  # of an idle clip: shorter ones twitch to and fro
MIN_REST_FRAMES = 75  # 3 s of silence are better to idle in than any speech
REST_MARGIN = 5  # frames of silence left out at both ends: lips part before they are heard
TURN_FRAMES = 15  # how far from its ends a loop may turn, to turn where little moves
LEAD_FRAMES = 5  # around an action, for a fade
MIN_FACE_SHARE = 0.9  # of an action that must show the face


@dataclass(frozen=True)
class Stretch:
    """The frames [start, stop) of the source as a clip, to be shown from ``first`` until ``last`` of the source."""

    name: str
    kind: Kind
    start: int
    stop: int
    first: int
    last: int  # the out-point: one after the last frame shown
    loop: Loop
    is_silent: bool  # nothing is said in it


def parse_points(key: str, text: str) -> tuple[int, int]:
    """The frames that ``12.0-15.5`` names, in seconds from the video's first frame.

    Raises:
        ConfigError: it is no pair of seconds, or names less than 0.4 s or more than a clip may hold.
    """
    match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d+)?)\s*-\s*(\d{1,6}(?:\.\d+)?)\s*", text)
    if match is None:
        raise ConfigError(
            f"{key}={text} is no pair of seconds. Write {key}=12.0-15.5: from the in-point to the out-point."
        )
    first, last = round(float(match[1]) * FPS), round(float(match[2]) * FPS)
    if not 10 <= last - first <= MAX_FRAMES:
        raise ConfigError(
            f"{key}={text} is {(last - first) / FPS:.2f} s, and a clip has 0.4 to {MAX_FRAMES / FPS:.0f} s. "
            "Give other points."
        )
    return first, last


def parse_stretches(idle: str, speaking: str, actions: Mapping[str, str]) -> dict[str, tuple[Kind, int, int]]:
    """(kind, in-point, out-point) in frames of what was asked for by name; an empty text asks for nothing.

    Raises:
        ConfigError: a text or a name cannot be.
    """
    asked: dict[str, tuple[Kind, int, int]] = {}
    if idle:
        asked["idle"] = ("idle", *parse_points("idle", idle))
    if speaking:
        asked["speaking"] = ("speaking", *parse_points("speaking", speaking))
    if len(actions) > MAX_CLIPS - 2:
        raise ConfigError(
            f"{len(actions)} actions are more than the {MAX_CLIPS - 2} that an avatar holds. Leave some out."
        )
    for name, text in actions.items():
        if name in ("idle", "speaking"):
            raise ConfigError(f"actions.{name}= is no action. Write {name}={text}.")
        try:
            check_name(name)
        except ValueError as error:
            raise ConfigError(f"actions.{name}=: {error}") from None
        asked[name] = ("action", *parse_points(f"actions.{name}", text))
    return asked


def last_second(asked: Mapping[str, tuple[Kind, int, int]]) -> int:
    """How many frames of the source must be looked at for what was asked for."""
    return max((last + LEAD_FRAMES for _, _, last in asked.values()), default=0)


def choose_idle(ids_T: np.ndarray, levels_T: np.ndarray | None, motion_T: np.ndarray, max_frames: int) -> Stretch:
    """The stretch to idle in: one face in one shot throughout; silent if there are 3 s of that, else the longest.

    ``levels_T`` is the loudness in dB, None where there is no sound; ``motion_T`` how much each frame differs from the
    one before. The ends are moved inwards, by at most 0.6 s, to where little moves: there a loop turns back unseen.

    Raises:
        FaceError: no stretch is a second long.
    """
    silent_T = np.ones(len(ids_T), bool)
    if levels_T is not None:
        loud = np.zeros(len(ids_T), bool)
        loud[: len(levels_T)] = levels_T[: len(ids_T)] >= SILENCE_DB
        near = np.convolve(loud, np.ones(2 * REST_MARGIN + 1), "same") > 0
        silent_T = ~near
    runs = _runs(np.where(silent_T, ids_T, -1))
    start, stop = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
    is_silent = stop - start >= (MIN_REST_FRAMES if not silent_T.all() else MIN_FRAMES)
    if not is_silent:
        start, stop = max(_runs(ids_T), key=lambda run: run[1] - run[0], default=(0, 0))
    if stop - start < MIN_FRAMES:
        raise FaceError(
            f"the face is in sight for at most {stop - start} frames in a row, and an avatar needs {MIN_FRAMES} (1 s) "
            "to idle in. Give a video of one person who looks at the camera."
        )
    start, stop = _quiet_ends(motion_T, start, min(stop, start + max_frames))
    return Stretch("idle", "idle", start, stop, start, stop, "back_and_forth", is_silent)


def check_stretch(
    name: str, kind: Kind, first: int, last: int, ids_T: np.ndarray, levels_T: np.ndarray | None
) -> Stretch:
    """What was asked for as a stretch of the source, with some frames around an action to fade in.

    Raises:
        ConfigError: it passes the end of the video.
        FaceError: it does not show one face throughout.
    """
    key = f"actions.{name}" if kind == "action" else name
    if last > len(ids_T):
        raise ConfigError(
            f"{key}={first / FPS:g}-{last / FPS:g} passes the end of the video at {len(ids_T) / FPS:.2f} s. "
            "Give points inside."
        )
    ids = ids_T[first:last]
    share = float((ids >= 0).mean())
    if share < (MIN_FACE_SHARE if kind == "action" else 1.0) or len(np.unique(ids[ids >= 0])) != 1:
        raise FaceError(
            f"{key}={first / FPS:g}-{last / FPS:g} shows one face in {share:.0%} of its frames, and it must be "
            f"the same one in {'90 %' if kind == 'action' else 'all'} of them. Give other points."
        )
    start, stop = first, last
    if kind == "action":
        same = ids_T == ids[ids >= 0][0]
        while start > max(0, first - LEAD_FRAMES) and same[start - 1]:
            start -= 1
        while stop < min(len(ids_T), last + LEAD_FRAMES) and same[stop]:
            stop += 1
    is_silent = levels_T is None or bool((levels_T[start:stop] < SILENCE_DB).all())
    return Stretch(name, kind, start, stop, first, last, "once" if kind == "action" else "back_and_forth", is_silent)


def _runs(ids_T: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of the stretches of one id that is not negative."""
    turns = np.flatnonzero(np.diff(ids_T)) + 1
    edges = [0, *turns.tolist(), len(ids_T)]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a and ids_T[a] >= 0]


def _quiet_ends(motion_T: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    reach = min(TURN_FRAMES, (stop - start - MIN_FRAMES) // 2)
    if reach < 1:
        return start, stop
    still_T = np.convolve(motion_T, np.ones(3) / 3, "same")
    begin = start + int(still_T[start : start + reach + 1].argmin())
    end = stop - reach + int(still_T[stop - reach - 1 : stop].argmin())
    return begin, max(end, math.ceil(begin + MIN_FRAMES))
