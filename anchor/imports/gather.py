"""Clips of face crops and speech, gathered into a new set of shards.

Shape suffixes: T frames, L samples, S mel steps, M mel bins.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from anchor.errors import AnchorError, ConfigError, MediaError
from anchor.ops.jpeg import encode_rgb
from anchor.ops.mel import mel_config_hash
from anchor.preprocess.segments import cut_audio, cut_mel, plan_segments
from anchor.preprocess.sound import mel_in_pieces, silence_share
from anchor.preprocess.splits import Part, assign_splits
from anchor.preprocess.spool import write_members
from anchor.shards import ShardSetWriter, encode_clip
from anchor.shards.target import new_set
from anchor.timing import FPS, SAMPLE_RATE, num_frames

__all__ = ["ForeignClip", "Outcome", "gather"]

MAX_FRAMES, MIN_FRAMES = 250, 15  # of a segment: 10 s and 0.6 s, as `anchor preprocess` has them
SLACK_S = 0.5  # how much longer the pictures may be than the sound, or a twentieth of the clip
MIN_SIZE, MAX_SIZE = 48, 1024


@dataclass
class ForeignClip:
    """One clip of another project: how to read it."""

    name: str
    speaker: str
    has_frame_T: np.ndarray  # bool, at 25 fps
    read_sound: Callable[[], tuple[np.ndarray, int]]  # float32 (L,) at 16 kHz, and its rate before
    read_crop: Callable[[int], np.ndarray]  # uint8 RGB (size, size, 3) of a frame
    split: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What became of a clip."""

    source: str
    speaker: str
    reason: str = ""  # why it was refused
    notes: list[str] = field(default_factory=list)
    segments: list[Part] = field(default_factory=list)


def check_options(out: Path, image_size: int, val_share: float) -> None:
    """See that a set can be made with these.

    Raises:
        ConfigError: it cannot.
    """
    if not MIN_SIZE <= image_size <= MAX_SIZE or image_size % 2:
        raise ConfigError(f"image_size={image_size}: choose an even number from {MIN_SIZE} to {MAX_SIZE}.")
    if not 0 < val_share < 1:
        raise ConfigError(f"val_share={val_share:g}: choose a share between 0 and 1, such as 0.1.")
    if out.exists():
        raise ConfigError(f"out={out} exists already. Give a new folder; nothing is written over.")


def gather(
    clips: Iterable[ForeignClip | Outcome], out: Path, image_size: int, val_share: float, seed: int, layout: str
) -> list[Outcome]:
    """Write ``clips`` into the new set ``out``; an ``Outcome`` among them was refused before.

    Clips that cannot be used are named and counted, as `anchor preprocess` does; ``report.json`` holds all.

    Raises:
        MediaError: no clip can be used.
    """
    outcomes: list[Outcome] = []
    splits: dict[str, str | None] = {}
    with new_set(out, 0) as target:
        spool = target / ".spool"
        for clip in clips:
            if isinstance(clip, Outcome):
                outcomes.append(clip)
                continue
            outcome = Outcome(clip.name, clip.speaker, notes=clip.notes)
            outcomes.append(outcome)
            try:
                _spool(clip, outcome, spool, image_size, layout)
            except AnchorError as error:
                outcome.reason, outcome.segments = str(error), []
            splits.update({part.key: clip.split for part in outcome.segments})
        for outcome in outcomes:
            for said in [f"refused {outcome.source}: {outcome.reason}"] if outcome.reason else outcome.notes:
                print(said, file=sys.stderr)
        kept = [outcome for outcome in outcomes if outcome.segments]
        if not kept:
            first = next((outcome.reason for outcome in outcomes), "there is no clip in it")
            raise MediaError(f"none of {len(outcomes)} clips can be used; the first: {first}")
        parts = [part for outcome in kept for part in outcome.segments]
        given = [splits[part.key] for part in parts]
        sides: Sequence[str] = (
            [side or "train" for side in given] if any(given) else assign_splits(parts, "auto", val_share, seed)
        )
        writer = ShardSetWriter(target, image_size, mel_config_hash())
        for part, side in zip(parts, sides, strict=True):
            members = {path.name: path.read_bytes() for path in (spool / part.key).iterdir()}
            writer.add(members, key=part.key, speaker=part.speaker, split=side, num_frames=part.num_frames)
        counts = {"kept": len(kept), "refused": len(outcomes) - len(kept)}
        manifest = writer.close({"imported": {"layout": layout, **counts}, "sources": counts})
        shutil.rmtree(spool)
        text = json.dumps({**counts, "clips": [asdict(outcome) for outcome in outcomes]}, ensure_ascii=False, indent=1)
        (target / "report.json").write_text(text + "\n", encoding="utf-8")
    frames = sum(part.num_frames for part in parts)
    held = ", ".join(f"{count['clips']} {name}" for name, count in manifest["splits"].items())
    print(
        f"{out}: {counts['kept']} clips kept, {counts['refused']} refused, {len(parts)} segments ({held}), "
        f"{frames} frames, {frames / FPS:.1f} s"
    )
    if "val" not in manifest["splits"]:
        print(f"{out}: there is no val clip, so training cannot hold anything out.", file=sys.stderr)
    return outcomes


def make_key(name: str, taken: Iterable[str] = ()) -> str:
    """``name`` as a shard set can keep it."""
    return re.sub(r"[^\w-]+", "_", name)[:120] or "clip"


def _spool(clip: ForeignClip, outcome: Outcome, spool: Path, image_size: int, layout: str) -> None:
    """Write the segments of ``clip`` under ``spool``."""
    samples, rate = clip.read_sound()
    pictures, heard = len(clip.has_frame_T), num_frames(len(samples))
    if rate != SAMPLE_RATE:
        outcome.notes.append(
            f"{clip.name}: its sound has {rate} samples per second and was resampled to {SAMPLE_RATE}."
        )
    if (pictures - heard) / FPS > max(SLACK_S, heard / FPS / 20):
        raise MediaError(
            f"{clip.name}: {pictures} frames are {pictures / FPS:.2f} s at {FPS} fps, and its sound has "
            f"{len(samples) / SAMPLE_RATE:.2f} s. The frames are of another rate, or the sound is cut off; mend one."
        )
    total = min(pictures, heard)
    if abs(pictures - heard) > FPS // 5:
        outcome.notes.append(
            f"{clip.name}: {pictures} frames and {heard} frames of sound; the first {total} of both are used."
        )
    missing = total - int(clip.has_frame_T[:total].sum())
    if missing:
        outcome.notes.append(f"{clip.name}: {missing} of {total} frames are missing; it is cut there.")
    ids_T = np.where(clip.has_frame_T[:total], 0, -1)
    segments = plan_segments(ids_T, MAX_FRAMES, MIN_FRAMES)
    if not segments:
        raise MediaError(f"{clip.name}: no {MIN_FRAMES} frames in a row have picture and sound ({total} at all).")
    mel_SM = mel_in_pieces(samples)
    for segment in segments:
        key = f"{make_key(clip.name)}_{segment.start:06d}"
        if (spool / key).exists():
            raise MediaError(f"{clip.name}: another clip has the key {key}. Rename one of the two.")
        jpegs = [encode_rgb(clip.read_crop(number)) for number in range(segment.start, segment.stop)]
        audio = cut_audio(samples, segment)
        meta = {
            "key": key, "speaker": clip.speaker, "fps": FPS, "num_frames": segment.num_frames,
            "image_size": image_size, "source": clip.name, "start_s": segment.start / FPS, "imported_from": layout,
            "mel_config_hash": mel_config_hash(), "offset_ms": 0, "silence_share": silence_share(audio),
        }  # fmt: skip
        write_members(spool / key, encode_clip(jpegs, cut_mel(mel_SM, segment), audio, meta))
        outcome.segments.append(Part(key, clip.speaker, segment.num_frames))
