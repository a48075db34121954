"""Windows out of clips: the dataset that shards and rendered speakers share.

Shape suffixes: B windows, T frames of a window, K wrong speeches, C colour, H W pixels, M mel bins, S mel steps.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from anchor.batch import ClipEntry, ClipSource, LipBatch, select
from anchor.errors import AnchorError, DamagedError, ShardError
from anchor.ops.references import best_references
from anchor.ops.silence import silent_frames
from anchor.timing import MEL_FLOOR, WINDOW_FRAMES, frame_span, mel_window, window_centres
from datamodules.chances import Disguise, NegativeMix, disguise_mel, disguise_pictures, draw_candidates, draw_negative
from datamodules.joined import frames_of
from datamodules.order import WindowKey
from datamodules.quarantine import Damage

__all__ = ["Item", "WindowDataset"]

MAX_ATTEMPTS = 16  # windows that may take the place of a damaged one, or wrong speeches that may be drawn
OWN_CLIP_ATTEMPTS = 4  # of them in the damaged window's own clip
SILENCE = 1000  # names the chances of silence among those of a window; attempts have the small numbers
MEL_CACHE_BYTES = 16 * 2**20  # 50 clips of 10 s and more; a mel window is cut from the whole clip's


class Item(NamedTuple):
    """What a loader process hands over."""

    batch: LipBatch | None  # None where ``error`` says why
    damages: list[Damage]
    error: AnchorError | None


class WindowDataset(Dataset[Item]):
    """One batch per item: a list of window keys in, a :class:`~anchor.batch.LipBatch` out, and what was damaged.

    A training window that cannot be read as it was written gives its place to another one, the same on every machine:
    of the same clip first, then of any. A damaged wrong speech is drawn anew.

    Args:
        source: where clips are read; pictures of another size are resized to ``image_size``.
        split: ``"train"`` or ``"val"``, where damage is an error.
        image_size: side of the pictures in pixels.
        window_frames: T, what the expert sees at once; its speech is as long.
        negatives_per_window: K, how many wrong speeches come with each window.
        disguise: None shows the material as it is.
        drawing: add references and each frame's own mel window, which the expert does not need.
        references: R, how many references come with each window, one behind the other in the channels.
        candidates: frames that are drawn for it to choose the references from, by the rule of
            :mod:`anchor.ops.references`; as many as ``references`` leaves all to chance.
        silence: share of the training windows that give their place to one of a pause of their clip, if it has any; in
            half of them the speech is digital silence.
        cache_mb: a split whose decoded clips fit into so many megabytes is decoded once and kept, in each process;
            a larger one is read picture by picture.
    """

    def __init__(
        self,
        source: ClipSource,
        split: str,
        *,
        image_size: int,
        seed: int,
        window_frames: int = WINDOW_FRAMES,
        negatives_per_window: int = 0,
        mix: NegativeMix | None = None,
        disguise: Disguise | None = None,
        drawing: bool = True,
        references: int = 1,
        candidates: int = 1,
        silence: float = 0.0,
        cache_mb: int = 256,
    ) -> None:
        self.source, self.split = source, split
        self.clips: Sequence[ClipEntry] = select(source.clips, split)
        self.image_size, self.seed, self.window_frames = image_size, seed, window_frames
        self.negatives_per_window = negatives_per_window
        self.mix, self.disguise = mix or NegativeMix(), disguise
        self.drawing = drawing
        self.references, self.candidates = references, max(references, candidates)
        self.silence = silence if drawing and split == "train" else 0.0
        frames = int(frames_of(self.clips).sum())
        self.keeps_pictures = frames * 3 * image_size**2 <= cache_mb * 2**20
        self._pictures: dict[int, np.ndarray] = {}
        self._mels = _Kept(MEL_CACHE_BYTES)

    def __getitem__(self, keys: Sequence[WindowKey]) -> Item:
        damages: list[Damage] = []
        try:
            windows = [self._whole_window(key, damages) for key in keys]
        except AnchorError as error:  # raised by the loader: a process of its own would wrap it into its traceback
            return Item(None, damages, error)
        batch = {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in windows[0]}
        return Item(LipBatch(**batch), damages, None)  # type: ignore[typeddict-item]

    def _whole_window(self, key: WindowKey, damages: list[Damage]) -> dict[str, np.ndarray]:
        """The window of ``key``, or the first in its place that can be read; adds one damage at most."""
        found: list[Damage] = []
        redrawn: list[Damage] = []
        shown = key
        for attempt in range(MAX_ATTEMPTS):
            shown = key if attempt == 0 else self._stand_in(key, attempt)
            try:
                window = self._window(shown, redrawn)
            except DamagedError as error:
                found.append(Damage.of(error, self.split, key.epoch, (self.clips[key.clip].key, key.frame)))
                if self.split != "train":
                    damages += found
                    raise
                continue
            if found:
                found[0] = replace(found[0], shown=(self.clips[shown.clip].key, shown.frame))
            damages += (found + redrawn)[: int(key.weight > 0)]  # what only fills a batch up is not learnt from
            return window
        damages += found[:1]
        raise ShardError(
            f"{found[-1].shard}: clip {found[-1].clip!r} is damaged, and so were {MAX_ATTEMPTS} windows that should "
            "have taken its place. Run `anchor shards verify`."
        )

    def _stand_in(self, key: WindowKey, attempt: int) -> WindowKey:
        """The window that takes the place of ``key``: of its own clip at first, then of any that is long enough."""
        rng = self._chances(key, attempt)
        clip = key.clip
        while attempt > OWN_CLIP_ATTEMPTS:
            clip = int(rng.integers(len(self.clips)))
            if self.clips[clip].num_frames >= self.window_frames:
                break
        centres = window_centres(self.clips[clip].num_frames, self.window_frames)
        frame = int(rng.integers(centres.start, centres.stop))
        return key._replace(clip=clip, frame=frame)

    def _chances(self, key: WindowKey, *more: int) -> np.random.Generator:
        """What decides about a window depends on the seed, the epoch, the clip and the frame alone."""
        clip = zlib.crc32(self.clips[key.clip].key.encode())
        return np.random.default_rng([self.seed, key.epoch, key.turn, clip, key.frame, *more])

    def _window(self, key: WindowKey, redrawn: list[Damage]) -> dict[str, np.ndarray]:
        clip = self.clips[key.clip]
        rng = self._chances(key)
        key, is_mute = self._perhaps_silent(key)
        span = frame_span(key.frame, self.window_frames)
        offered = draw_candidates(rng, clip.num_frames, key.frame, self.candidates) if self.drawing else []
        pictures_NCHW = self._choose(self._read_pictures(key.clip, [*span, *offered]))
        mel_SM = self._read_mel(key.clip)
        wrong = [self._wrong_speech(rng, key, redrawn) for _ in range(self.negatives_per_window)]
        own = [mel_window(mel_SM, key.frame, self.window_frames)]
        own += [mel_window(mel_SM, frame) for frame in span] if self.drawing else []
        mels = [*own, *(mel_MS for mel_MS, _ in wrong)]
        if self.disguise is not None:
            pictures_NCHW = disguise_pictures(rng, pictures_NCHW, self.disguise)
            # One disguise for all the speech of a window: the right answer must not be told by its noise.
            mels = _disguise_mels(rng, mels, self.disguise)
        if is_mute:
            mels[: len(own)] = [np.full_like(mel_MS, MEL_FLOOR) for mel_MS in own]
        wrong_mels = np.stack(mels[len(own) :]) if wrong else np.empty((0, *own[0].shape), np.float32)
        drawn: dict[str, Any] = {}
        if self.drawing:
            references_CHW = pictures_NCHW[len(span) :].reshape(-1, *pictures_NCHW.shape[2:])
            drawn = {"references_BCHW": references_CHW, "mels_BT1MS": np.stack(mels[1 : len(own)])[:, None]}
        return {
            **drawn,
            "faces_BTCHW": pictures_NCHW[: len(span)],
            "mel_B1MS": mels[0][None],
            "wrong_mels_BK1MS": wrong_mels[:, None],
            "is_foreign_BK": np.array([is_foreign for _, is_foreign in wrong], bool),
            "clip_B": np.int64(key.clip),
            "frame_B": np.int64(key.frame),
            "weight_B": np.float32(key.weight),
        }

    def _perhaps_silent(self, key: WindowKey) -> tuple[WindowKey, bool]:
        """The window of ``key`` or a silent one of its clip, and whether its speech is taken away altogether."""
        if not self.silence:
            return key, False
        rng = self._chances(key, SILENCE)
        if rng.random() >= self.silence:
            return key, False
        silent_T = silent_frames(self._read_mel(key.clip), self.clips[key.clip].num_frames)
        windows = np.lib.stride_tricks.sliding_window_view(silent_T, self.window_frames).all(1)
        centres = self.window_frames // 2 + np.flatnonzero(windows)
        if not len(centres):
            return key, False
        return key._replace(frame=int(rng.choice(centres))), bool(rng.random() < 0.5)

    def _choose(self, pictures_NCHW: np.ndarray) -> np.ndarray:
        """The window's pictures and the best of the candidates behind them."""
        if not self.drawing:
            return pictures_NCHW
        window_TCHW, offered_KCHW = np.split(pictures_NCHW, [self.window_frames])
        if len(offered_KCHW) == self.references:
            return pictures_NCHW
        faces_NHWC = np.ascontiguousarray(pictures_NCHW.transpose(0, 2, 3, 1))
        best_R = best_references(faces_NHWC[self.window_frames // 2], faces_NHWC[self.window_frames :], self.references)
        return np.concatenate([window_TCHW, offered_KCHW[best_R]])

    def _wrong_speech(self, rng: np.random.Generator, key: WindowKey, redrawn: list[Damage]) -> tuple[np.ndarray, bool]:
        """A mel window (80, S) that does not belong to ``key``, and whether it comes from another clip."""
        for attempt in range(MAX_ATTEMPTS):
            clip, frame = draw_negative(rng, self.clips, key.clip, key.frame, self.mix, self.window_frames)
            try:
                return mel_window(self._read_mel(clip), frame, self.window_frames), clip != key.clip
            except DamagedError as error:
                window = self.clips[key.clip].key, key.frame
                if self.split != "train" or attempt == MAX_ATTEMPTS - 1:
                    raise
                redrawn.append(Damage.of(error, self.split, key.epoch, window))
        raise AssertionError

    def _read_pictures(self, number: int, frames: Sequence[int]) -> np.ndarray:
        """uint8 (N, C, H, W) of the numbered frames."""
        if not self.keeps_pictures:
            return self._decode(self.clips[number], frames)
        kept = self._pictures.get(number)
        if kept is None:
            try:
                kept = self._decode(self.clips[number], range(self.clips[number].num_frames))
            except DamagedError:  # somewhere in the clip; these frames may be whole
                return self._decode(self.clips[number], frames)
            self._pictures[number] = kept
        return kept[list(frames)]

    def _decode(self, clip: ClipEntry, frames: Sequence[int]) -> np.ndarray:
        pictures_NHWC = self.source.read_frames(clip, frames)
        size = self.image_size
        if pictures_NHWC.shape[1] != size:
            how = cv2.INTER_AREA if pictures_NHWC.shape[1] > size else cv2.INTER_CUBIC
            pictures_NHWC = np.stack(
                [cv2.resize(picture, (size, size), interpolation=how) for picture in pictures_NHWC]
            )
        return np.ascontiguousarray(pictures_NHWC.transpose(0, 3, 1, 2))

    def _read_mel(self, number: int) -> np.ndarray:
        kept = self._mels.get(number)
        return self._mels.put(number, self.source.read_mel(self.clips[number])) if kept is None else kept


def _disguise_mels(rng: np.random.Generator, mels: Sequence[np.ndarray], disguise: Disguise) -> list[np.ndarray]:
    """Mel windows (80, S) of any lengths, all changed alike."""
    ends = np.cumsum([mel_MS.shape[1] for mel_MS in mels])
    whole_SM = disguise_mel(rng, np.concatenate(mels, axis=1).T, disguise)
    return np.split(np.ascontiguousarray(whole_SM.T), ends[:-1], axis=1)


class _Kept:
    """Arrays kept up to a number of bytes; the longest unused goes first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self.arrays: OrderedDict[int, np.ndarray] = OrderedDict()

    def get(self, number: int) -> np.ndarray | None:
        if number in self.arrays:
            self.arrays.move_to_end(number)
        return self.arrays.get(number)

    def put(self, number: int, array: np.ndarray) -> np.ndarray:
        self.arrays[number] = array
        self.used += array.nbytes
        while self.used > self.limit and len(self.arrays) > 1:
            self.used -= self.arrays.popitem(last=False)[1].nbytes
        return array
