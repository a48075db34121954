"""What `anchor preprocess` does besides the clips: finding and planning them, choosing, and writing the set.

    python benchmarks/preprocess_plan.py [clips=1250,2500,5000] [duplicates=drop|keep] [profile=on]

Every clip is a stand-in whose result is done already: one segment of two seconds at 32 px, so that little is copied,
with a fingerprint and pictures as long as those of ten seconds. Each count runs in a process of its own; printed are
milliseconds per clip, and the peak memory of the process.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

SECONDS = 10  # of speech that a fingerprint covers


def make_stand_ins(folder: Path, count: int) -> None:
    """``count`` sources in folders of a hundred, and their finished results beside ``out``."""
    from anchor.faces import make_detector
    from anchor.preprocess.cleaning.fingerprint import Fingerprint
    from anchor.preprocess.cleaning.limits import Limits
    from anchor.preprocess.results import SegmentResult, Thumbnail
    from anchor.preprocess.settings import check_settings
    from anchor.preprocess.sources import find_sources
    from anchor.preprocess.work import RESULT, FinishedClips, _made_from
    from anchor.synth.corpus import render_corpus

    render_corpus(out=folder / "one", speakers=1, clips=1, seconds=2.2, size=96)
    settings = check_settings(
        32, make_detector("haar").name, 5, 10.0, 0.6, limits=Limits(0, 0, 255, 0, 0, None, None, None, None, None)
    )
    real = FinishedClips(folder / "real")
    model = find_sources(folder / "one")[0]
    result = real.make(model, settings)
    assert result.is_kept, result.reason
    members = {
        path.name: path.read_bytes() for path in (real.folder(model, settings) / result.segments[0].key).iterdir()
    }
    source = folder / "source"
    for number in range(count):
        path = source / f"speaker{number // 100:05d}" / f"clip{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000 + number))
    finished = FinishedClips(folder / ".out.work" / "clips")
    rng = np.random.default_rng(0)
    picture = "data:image/jpeg;base64," + "x" * 2000
    for number, one in enumerate(find_sources(source)):
        sound = rng.integers(0, 2**24, 25 * SECONDS, np.uint32)
        codes = rng.integers(0, 2**63, 5 * SECONDS, np.uint64)
        segment = result.segments[0]
        key = f"{one.key}_000000"
        own = replace(
            result, source=one.name, speaker=one.speaker, fingerprint=Fingerprint(sound, codes, 0).to_text(),
            segments=[SegmentResult(**{**segment.__dict__, "key": key, "speaker": one.speaker})],
            thumbnails=[Thumbnail(key, "0.5 s", picture)] * 2,
        )  # fmt: skip
        place = finished.folder(one, settings)
        (place / key).mkdir(parents=True)
        for name, data in members.items():
            (place / key / name).write_bytes(data)
        saved = {"made_from": _made_from(one, settings), "result": own.to_json()}
        (place / RESULT).write_text(json.dumps(saved), encoding="utf-8")
        assert finished.load(one, settings) is not None, number


def run(folder: Path, duplicates: str, profiled: bool) -> None:
    """The command on stand-ins, with what it took."""
    import cProfile
    import pstats

    from anchor.preprocess import preprocess
    from anchor.preprocess.memory import peak_bytes

    before, start = peak_bytes(), time.perf_counter()
    profile = cProfile.Profile()
    if profiled:
        profile.enable()
    preprocess(
        source=folder / "source", out=folder / "out", image_size=32, detector="haar", min_face_px=0, min_sharpness=0,
        min_luma=0, max_luma=255, min_contrast=0, max_yaw=None, max_pitch=None, max_roll=None, min_speech_db=None,
        max_silence=None, workers=1, duplicates=duplicates,
    )  # fmt: skip
    spent = time.perf_counter() - start
    if profiled:
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(45)
    report_bytes = sum(path.stat().st_size for path in (folder / "out").glob("report.*"))
    print(json.dumps({"seconds": spent, "before": before, "peak": peak_bytes(), "report": report_bytes}))


def main() -> None:
    """Measure each count in a new process, and print a line."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    if "folder" in options:
        run(Path(options["folder"]), options.get("duplicates", "drop"), "profile" in options)
        return
    for count in map(int, options.get("clips", "1250,2500,5000").split(",")):
        with tempfile.TemporaryDirectory() as folder:
            make_stand_ins(Path(folder), count)
            command = [
                sys.executable,
                __file__,
                f"folder={folder}",
                *(word for word in sys.argv[1:] if "clips=" not in word),
            ]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            got = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{count} clips: {1e3 * got['seconds'] / count:.2f} ms per clip, {got['seconds']:.1f} s; memory "
                f"{got['before'] / 1e9:.2f} to {got['peak'] / 1e9:.2f} GB, "
                f"{(got['peak'] - got['before']) / count / 1e3:.1f} kB per clip; report {got['report'] / 1e6:.1f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
