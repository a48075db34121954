"""The command `anchor material check`: is this material good enough to learn from, and what would make it better."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from anchor.errors import AnchorError, ConfigError, MediaError
from anchor.faces import DetectorName, make_detector
from anchor.preprocess.material.clip import measure_clip
from anchor.preprocess.material.page import render_page
from anchor.preprocess.material.store import Checked, Store, picture_uris
from anchor.preprocess.material.table import Progress, render_table
from anchor.preprocess.material.verdict import Verdict, advise, judge
from anchor.preprocess.pool import num_workers, run_all
from anchor.preprocess.sources import Source, find_sources
from anchor.preprocess.watch import beat, rest

__all__ = ["Summary", "check"]


@dataclass(frozen=True)
class Summary:
    """What a run of `anchor material check` found."""

    clips: int
    kept: int
    seconds: float  # of all clips
    usable_s: float
    advice: str  # what would improve most of it; empty where nothing was noted
    out: str

    def __str__(self) -> str:
        return (
            f"{self.clips} clip{'s' * (self.clips != 1)}, {self.kept} kept, "
            f"{self.usable_s / 60:.1f} of {self.seconds / 60:.1f} minutes usable."
            + (f" {self.advice}" if self.advice else "")
        )


@dataclass(frozen=True)
class _Task:
    source: Source
    detector: DetectorName
    threads: int  # of the decoder; 0 for one per core


def check(source: Path, *, out: Path | None = None, detector: DetectorName = "auto", workers: int = 0) -> Summary:
    """Look at raw material before it is preprocessed: picture, face and sound of every clip, and what to improve.

    ``source`` is a video or a folder of videos with its subfolders. Prints a table, and writes ``material.json`` and
    ``material.html`` with pictures into ``out`` (default ``runs/material-NAME``), the worst clips first. A clip is
    kept where `anchor preprocess` would take it with its defaults; what could be better stands beside it. At most 300
    pictures of a clip are looked at. ``workers`` is the number of processes, 0 for one per core. Clips that were
    checked before and did not change are not measured again. docs/material.md explains every number.
    """
    if workers < 0:
        raise ConfigError(f"workers={workers} is negative. Give 0 for one per core, or a number of processes.")
    source = Path(source)
    sources = find_sources(source)
    out = Path(out) if out is not None else Path("runs") / f"material-{source.resolve().stem or 'root'}"
    store = Store(out / "clips", make_detector(detector).name)  # a missing model is one sentence here
    try:
        out.mkdir(parents=True, exist_ok=True)
        done, stop = _measure_all(sources, store, detector, workers)
        pairs = [(done[i], _judge(done[i])) for i in sorted(done)]
        pairs.sort(key=_badness)
        summary = _summarise(pairs, out)
        _write(out, source, pairs, summary)
    except OSError as error:
        raise ConfigError(
            f"out={out} cannot be written ({error.strerror or error}). Check the folder, its rights and the disk."
        ) from error
    if pairs:
        print(render_table(pairs))
        print(f"\n{textwrap.fill(str(summary), 120)}\n  {out / 'material.html'}")
    if stop is not None:
        said = f"{len(done)} of {len(sources)} clips are checked, the same command goes on from there"
        raise type(stop)(said) from None
    if not summary.kept:
        raise MediaError(_nothing_kept(pairs))
    return summary


def _measure_all(
    sources: Sequence[Source], store: Store, detector: DetectorName, workers: int
) -> tuple[dict[int, Checked], KeyboardInterrupt | None]:
    """What is known of each source, and the Ctrl-C that came before all were looked at."""
    done = {i: checked for i, source in enumerate(sources) if (checked := store.load(source)) is not None}
    new = [i for i in range(len(sources)) if i not in done]
    if not new:
        return done, None
    workers = num_workers(workers, len(new))
    tasks = [_Task(sources[i], detector, threads=1 if workers > 1 else 0) for i in new]
    progress = Progress(len(tasks))
    try:
        for number, checked in run_all(_check_clip, tasks, workers, _crashed):
            i = new[number]
            done[i] = checked
            store.save(sources[i], checked)
            progress.show(len(done) - len(sources) + len(new))
    except KeyboardInterrupt as stop:
        progress.end()
        return done, stop
    return done, None


def _check_clip(task: _Task) -> Checked:
    source = task.source
    beat()
    try:
        measures, pictures = measure_clip(source.path, task.detector, task.threads)
    except AnchorError as error:
        return Checked(source.name, source.path, None, str(error))
    except MemoryError:
        reason = f"{source.path}: memory ran out. Try workers=1."
        return Checked(source.name, source.path, None, reason, is_final=False)
    except Exception as error:  # one clip must never end the others
        reason = f"{source.path}: {type(error).__name__}: {error}. Please report this clip."
        return Checked(source.name, source.path, None, reason, is_final=False)
    finally:
        rest()
    return Checked(source.name, source.path, measures, pictures=picture_uris(pictures))


def _crashed(task: _Task) -> Checked:
    reason = f"{task.source.path}: its process died while reading it. It is damaged, or memory ran out: try workers=1."
    return Checked(task.source.name, task.source.path, None, reason, is_final=False)


def _judge(checked: Checked) -> Verdict:
    return judge(checked.path, checked.measures) if checked.measures else Verdict(False, checked.reason)


def _badness(pair: tuple[Checked, Verdict]) -> tuple[bool, int, float, str]:
    """Refused clips first, then those with most notes, then the least sharp."""
    checked, verdict = pair
    faces = checked.measures.faces if checked.measures else None
    return verdict.is_kept, -len(verdict.notes), faces.sharpness if faces else 0.0, checked.name


def _summarise(pairs: Sequence[tuple[Checked, Verdict]], out: Path) -> Summary:
    measured = [(checked.measures, verdict) for checked, verdict in pairs if checked.measures]
    return Summary(
        clips=len(pairs),
        kept=sum(verdict.is_kept for _, verdict in pairs),
        seconds=round(sum(measures.seconds for measures, _ in measured), 2),
        usable_s=round(sum(measures.usable_s for measures, verdict in measured if verdict.is_kept), 2),
        advice=advise(measured),
        out=str(out),
    )


def _write(out: Path, source: Path, pairs: Sequence[tuple[Checked, Verdict]], summary: Summary) -> None:
    clips = [
        {
            "name": checked.name,
            "path": str(checked.path),
            "is_kept": verdict.is_kept,
            "reason": verdict.reason,
            "notes": [asdict(note) for note in verdict.notes],
            "measures": asdict(checked.measures) if checked.measures else None,
        }
        for checked, verdict in pairs
    ]
    record = {"source": str(source), "summary": asdict(summary), "clips": clips}
    texts = {
        "material.json": json.dumps(record, indent=1),
        "material.html": render_page(pairs, str(summary), str(source)),
    }
    for name, text in texts.items():
        partial = out / f".{name}.partial"
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(out / name)


def _nothing_kept(pairs: Sequence[tuple[Checked, Verdict]]) -> str:
    if len(pairs) == 1:
        return pairs[0][1].reason
    reasons = "; ".join(verdict.reason for _, verdict in pairs[:3])
    return f"None of {len(pairs)} clips can be used. {reasons}{' ...' if len(pairs) > 3 else ''}"
