"""How often the A/V offset of a clip is right, wrong, left open, or called foreign: the tables of docs/sync.md.

    python benchmarks/offset.py clips=DIR [detector=auto] [foreign=8] [cache=FILE]

Measures every clip of the folder. Those with an established offset are then cut into windows of 6 to 20 s, whose offset
is known: with their own sound, moved by up to 400 ms, in noise, and out of focus; and with foreign sound: that of other
clips, their own from 5 s away or more, and their own backwards.
"""

import collections
import sys
from pathlib import Path

import cv2
import numpy as np

from anchor.faces import FaceTracker, TrackSettings, crop_face, make_detector
from anchor.media import FrameReader, read_audio
from anchor.ops.mel import log_mel
from anchor.preprocess.sync import MouthLog
from anchor.preprocess.sync.mouth import Stretch
from anchor.preprocess.sync.offset import measure_stretches
from anchor.timing import SAMPLES_PER_FRAME

LENGTHS_S = (6, 8, 10, 12, 15, 20)
NEAR_MS = 80  # two frames
FRAME_STEPS = 3.2


def look(path, detector):
    """The mouth of the face followed, sharp and out of focus, and the sound."""
    tracker, total = FaceTracker(detector, TrackSettings()), 0
    for index, frame in FrameReader(path):
        tracker.add(index, frame)
        total = index + 1
    track = tracker.result(total)
    sharp, soft, last = MouthLog(total), MouthLog(total), -1
    for index, frame in FrameReader(path):
        if index < total and track.ids[index] >= 0:
            crop = crop_face(frame, track.boxes[index], 96)
            sharp.add(index, crop, is_new=track.ids[index] != last)
            soft.add(index, cv2.GaussianBlur(crop, (0, 0), 3.0), is_new=track.ids[index] != last)
            last = track.ids[index]
    return sharp.stretches(), soft.stretches(), read_audio(path)


def keep(cache, seen):
    """Write what was looked at, an .npz: of each clip its sound, and every stretch as NAME/KIND/START."""
    arrays = {}
    for name, (sharp, soft, sound) in seen.items():
        arrays[f"{name}/sound/0"] = sound
        for kind, stretches in (("sharp", sharp), ("soft", soft)):
            arrays |= {f"{name}/{kind}/{one.start}": one.mouth for one in stretches}
    with cache.open("wb") as file:
        np.savez(file, **arrays)


def recall(cache):
    """What :func:`keep` wrote."""
    seen = {}
    with np.load(cache, allow_pickle=False) as arrays:
        for key in arrays:
            name, kind, start = key.rsplit("/", 2)
            sharp, soft, _ = seen.setdefault(name, ([], [], None))
            if kind == "sound":
                seen[name] = (sharp, soft, arrays[key])
            else:
                (sharp if kind == "sharp" else soft).append(Stretch(int(start), arrays[key]))
    return seen


def verdict(measured, true_ms):
    """One word for the table."""
    if measured.offset_ms is None:
        return measured.status
    return "right" if true_ms is not None and abs(measured.offset_ms - true_ms) <= NEAR_MS else "WRONG"


def noisy(samples, snr_db, rng):
    """White noise at this distance below the loud tenth of the frames."""
    whole = samples[: len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    level = np.sqrt(np.percentile((whole**2).mean(1), 90))
    return np.clip(samples + level * 10 ** (-snr_db / 20) * rng.standard_normal(len(samples)), -1, 1).astype(np.float32)


def moved(mel_SM, frames):
    """The sound later by ``frames``."""
    steps = round(frames * FRAME_STEPS)
    if steps >= 0:
        return np.concatenate([np.full((steps, 80), -4, np.float32), mel_SM])
    return mel_SM[-steps:]


def tell(title, counts):
    """One line per kind of case."""
    print(f"\n{title}")
    columns = ("right", "WRONG", "not established", "no match")
    print(f"{'':26s}" + "".join(f"{name:>17s}" for name in columns))
    for name, of in counts.items():
        print(f"{name:26s}" + "".join(f"{of[column]:17d}" for column in columns))


def main():
    """Measure and print."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    rng = np.random.default_rng(0)
    cache = Path(options["cache"]) if "cache" in options else None
    if cache is not None and cache.is_file():
        seen = recall(cache)
    else:
        detector = make_detector(options.get("detector", "auto"))
        seen = {path.stem: look(path, detector) for path in sorted(Path(options["clips"]).iterdir())}
        if cache is not None:
            keep(cache, seen)
    mels = {name: log_mel(sound) for name, (_, _, sound) in seen.items()}
    known = {}
    for name, (sharp, _, _) in seen.items():
        got = measure_stretches(sharp, mels[name])
        if got.offset_ms is not None:
            known[name] = got.offset_ms
        best = max(got.curve, key=lambda pair: pair[1])[0] if got.curve else 0
        print(f"{name:36s} {got!s:16s} score {got.score:5.1f} at {best:+4d} ms, {got.frames:4d} frames  {got.reason}")

    true, foreign, hard = (collections.defaultdict(collections.Counter) for _ in range(3))
    scores = collections.defaultdict(list)
    noise_mels = {(name, snr): log_mel(noisy(seen[name][2], snr, rng)) for name in known for snr in (20, 10, 5, 0)}
    for name in seen:
        sharp, soft, _ = seen[name]
        if not sharp:
            continue
        longest = max(range(len(sharp)), key=lambda i: len(sharp[i].mouth))
        for seconds in LENGTHS_S:
            length = 25 * seconds
            for start in range(0, len(sharp[longest].mouth) - length + 1, length // 2):
                part = [
                    [Stretch(at[longest].start + start, at[longest].mouth[start : start + length])]
                    for at in (sharp, soft)
                ]
                first = part[0][0].start
                if name in known:
                    got = measure_stretches(part[0], mels[name])
                    true[f"own sound, {seconds} s"][verdict(got, known[name])] += 1
                    scores[f"own, {seconds} s"].append(got.score)
                    for frames in range(-10, 11, 2):
                        if abs(known[name] + 40 * frames) <= 520:
                            got = measure_stretches(part[0], moved(mels[name], frames))
                            true[f"own sound moved, {seconds} s"][verdict(got, known[name] + 40 * frames)] += 1
                    for snr in (20, 10, 5, 0):
                        got = measure_stretches(part[0], noise_mels[name, snr])
                        hard[f"noise at {snr} dB, {seconds} s"][verdict(got, known[name])] += 1
                    got = measure_stretches(part[1], mels[name])
                    hard[f"out of focus, {seconds} s"][verdict(got, known[name])] += 1
                others = [mels[name][int(first * FRAME_STEPS) : int((first + length) * FRAME_STEPS)][::-1]]
                others = [np.concatenate([np.zeros((int(first * FRAME_STEPS), 80), np.float32), others[0]])]
                for _ in range(int(options.get("foreign", 8))):
                    other = rng.choice([one for one in seen if len(mels[one]) >= (length + 40) * FRAME_STEPS])
                    place = int(rng.integers(20, len(mels[other]) / FRAME_STEPS - length - 19))
                    if other != name or abs(place - first) >= 125:
                        others.append(moved(mels[other], first - place))
                for other_SM in others:
                    got = measure_stretches(part[0], other_SM)
                    foreign[f"foreign sound, {seconds} s"][verdict(got, None)] += 1
                    scores[f"foreign, {seconds} s"].append(got.score)
    tell("Sound that belongs", true)
    tell("Sound that belongs, hard to tell", hard)
    tell("Sound that does not belong", foreign)
    print("\nscores: 0, 1, 5, 50, 95, 99, 100 % of the windows")
    for name, of in scores.items():
        print(f"{name:20s}" + "".join(f"{q:7.1f}" for q in np.percentile(of, (0, 1, 5, 50, 95, 99, 100))))


if __name__ == "__main__":
    main()
