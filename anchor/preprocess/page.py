"""What became of every clip, as one HTML file: the worst first, with pictures; light or dark, offline."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from anchor.preprocess.cleaning.limits import KINDS, Limits
from anchor.preprocess.results import DUPLICATE, ClipResult, SegmentResult
from anchor.preprocess.settings import ClipSettings
from anchor.timing import FPS

__all__ = ["MAX_PICTURED", "render_page", "worst_first"]

MAX_PICTURED = 300  # clips; the page stays near 10 MB
MAX_LISTED = 40  # segments of one clip; the table has them all
STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d2125;--soft:#667079;--edge:#e2e4e6;--mark:#0b6e6e;
--bad:#b3261e;--good:#14722e;--warn:#8a5a00}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e6e8ea;--soft:#98a2ab;--edge:#30363c;
--mark:#53c1bd;--bad:#ff8a80;--good:#7fd695;--warn:#e8bf62}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:24px;margin:0 0 2px}.sum{font-size:17px;margin:6px 0 14px}.soft,small{color:var(--soft)}
table{border-collapse:collapse}th,td{text-align:left;padding:4px 10px 4px 0;vertical-align:middle;font-size:13.5px}
th{font-weight:500;font-size:12.5px;color:var(--soft);white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
section{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:12px 16px;margin:0 0 12px;
overflow-x:auto}section h2{font-size:16px;margin:0;overflow-wrap:anywhere}section p{margin:2px 0 6px;font-size:13.5px}
.no{color:var(--bad)}.yes{color:var(--good)}.warn{color:var(--warn);font-weight:600}.note{color:var(--warn)}
td:first-child{white-space:nowrap}
figure{display:inline-block;margin:0 4px 0 0}img{height:64px;width:64px;border-radius:4px;display:block}
figcaption{font-size:11px;color:var(--soft);text-align:center;white-space:nowrap}
"""
# head, measure, how it is shown, which limit marks it
COLUMNS = (
    ("face px", "face_px", "{:.0f}", "min_face_px"),
    ("sharpness", "sharpness", "{:.2f}", "min_sharpness"),
    ("luma", "luma", "{:.0f}", "min_luma max_luma"),
    ("contrast", "contrast", "{:.0f}", "min_contrast"),
    ("yaw", "yaw_deg", "{:.0f}°", "max_yaw"),
    ("pitch", "pitch_deg", "{:.0f}°", "max_pitch"),
    ("roll", "roll_deg", "{:.0f}°", "max_roll"),
    ("speech", "speech_db", "{:.0f} dB", "min_speech_db"),
    ("silent", "silence_share", "{:.0%}", "max_silence"),
    ("mouth", "mouth_motion", "{:.3f}", ""),
)


def render_page(results: Sequence[ClipResult], summary: Mapping[str, Any], settings: ClipSettings) -> str:
    """The page for ``results``: refused clips first, then those with most left out."""
    ordered = [results[number] for number in worst_first(results)]
    cards = "\n".join(_card(result, settings.limits, i < MAX_PICTURED) for i, result in enumerate(ordered))
    more = f"<p class='soft'>Pictures are shown of the first {MAX_PICTURED} clips.</p>" * (len(ordered) > MAX_PICTURED)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>anchor preprocess</title><style>{STYLE}</style></head><body><main><h1>anchor preprocess</h1>"
        f'<p class="sum">{html.escape(str(summary["line"]))}</p>{_reasons(results)}'
        f"<p class='soft'>{html.escape(_recipe(settings))}</p>{more}\n{cards}\n</main></body></html>\n"
    )


def worst_first(results: Sequence[ClipResult]) -> list[int]:
    """The numbers of ``results`` in the order of the page; the first ``MAX_PICTURED`` are shown with pictures."""

    def place(number: int) -> tuple[bool, float, str]:
        result = results[number]
        return result.is_kept, -_left_out_s(result), result.source

    return sorted(range(len(results)), key=place)


def _left_out_s(result: ClipResult) -> float:
    return sum(segment.num_frames for segment in result.segments if not segment.is_kept) / FPS


def _reasons(results: Sequence[ClipResult]) -> str:
    """What was left out, counted by reason; empty where nothing was."""
    found: dict[str, list[float]] = {}
    for result in results:
        if not result.segments and not result.is_kept:
            what = DUPLICATE if "duplicate_of" in result.facts else "refused whole"
            found.setdefault(what, [0, 0, 0.0])[0] += 1
            continue
        for kind in {segment.decision for segment in result.segments if not segment.is_kept}:
            own = [segment for segment in result.segments if segment.decision == kind]
            row = found.setdefault(kind, [0, 0, 0.0])
            row[0] += 1
            row[1] += len(own)
            row[2] += sum(segment.num_frames for segment in own) / FPS
    if not found:
        return "<p>Nothing was left out.</p>"
    rows = "".join(
        f"<tr><td>{html.escape(kind)}</td><td class='n'>{clips:.0f}</td><td class='n'>{segments:.0f}</td>"
        f"<td class='n'>{seconds:.1f} s</td><td class='soft'>{html.escape(KINDS.get(kind, ''))}</td></tr>"
        for kind, (clips, segments, seconds) in sorted(found.items(), key=lambda one: -one[1][2])
    )
    return (
        "<section><h2>Left out</h2><table><thead><tr><th>reason</th><th class='n'>clips</th>"
        f"<th class='n'>segments</th><th class='n'>time</th><th></th></tr></thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )


def _recipe(settings: ClipSettings) -> str:
    limits = ", ".join(
        f"{name}={'none' if value is None else format(value, 'g')}" for name, value in asdict(settings.limits).items()
    )
    switches = ("faces", "detector", "shots", "align", "offset", "on_no_match")
    return "; ".join([", ".join(f"{name}={getattr(settings, name)}" for name in switches), limits])


def _card(result: ClipResult, limits: Limits, has_pictures: bool) -> str:
    kept, total = len(result.kept_segments), len(result.segments)
    if result.is_kept:
        count = f"{kept} segment{'s' * (kept > 1)}" if kept == total else f"{kept} of {total} segments"
        outcome = f'<span class="{"yes" if kept == total else "warn"}">kept, {count}</span>'
    else:
        outcome = f'<span class="no">refused</span> {html.escape(result.reason)}'
    notes = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in result.notes)
    name, speaker = html.escape(result.source), html.escape(result.speaker)
    facts = " · ".join(html.escape(text) for text in _facts(result))
    return (
        f"<section><h2>{name} <small>{speaker}</small></h2><p>{outcome}</p><p class='soft'>{facts}</p>{notes}"
        f"{_segments(result, limits, has_pictures) if total else ''}</section>"
    )


def _facts(result: ClipResult) -> list[str]:
    facts, shown = result.facts, []
    if "width" in facts:
        shown.append(f"{facts['width']}x{facts['height']}, {facts['fps']:g} fps, {facts['codec']}")
        shown.append(f"{facts['seconds']:.1f} s, {facts.get('frames', 0)} frames kept")
    if facts.get("cuts"):
        count = len(facts["cuts"])
        at = ", ".join(f"{cut / FPS:.2f}" for cut in facts["cuts"][:8])
        shown.append(f"{count} shot change{'s' * (count > 1)} at {at}{' ...' if count > 8 else ''} s")
    if "hit_rate" in facts:
        faces = f", {facts['num_faces']} faces" if facts.get("num_faces", 1) > 1 else ""
        shown.append(f"face found in {facts['hit_rate']:.0%} of the looks by {facts['detector']}{faces}")
    offset = facts.get("offset", {})
    if offset.get("status", "not measured") != "not measured":
        value = "" if offset["offset_ms"] is None else f", the sound is {_late(offset['offset_ms'])}"
        is_sure = offset["status"] == "established" and offset["confidence"] is not None
        sure = f", confidence {offset['confidence']:.2f}" if is_sure else ""
        why = f": {offset['reason']}" if not is_sure and offset.get("reason") else ""
        done = f", corrected by {offset['corrected_ms']:.0f} ms" if offset["corrected_ms"] and result.is_kept else ""
        shown.append(f"offset {offset['status']}{value}{sure}{why}{done}")
    return shown


def _late(offset_ms: float) -> str:
    return f"{abs(offset_ms):.0f} ms {'late' if offset_ms > 0 else 'early'}" if round(offset_ms) else "on time"


def _segments(result: ClipResult, limits: Limits, has_pictures: bool) -> str:
    measured = [
        column for column in COLUMNS
        if any(segment.measures and getattr(segment.measures, column[1]) is not None for segment in result.segments)
    ]  # fmt: skip
    heads = "".join(f"<th class='n'>{column[0]}</th>" for column in measured)
    pictures: dict[str, str] = {}
    for thumbnail in result.thumbnails if has_pictures else ():
        caption = html.escape(thumbnail.caption)
        picture = f'<figure><img alt="" src="{thumbnail.uri}"><figcaption>{caption}</figcaption></figure>'
        pictures[thumbnail.key] = pictures.get(thumbnail.key, "") + picture
    listed = sorted(result.segments, key=lambda segment: (segment.is_kept, segment.start))[:MAX_LISTED]
    rows = "".join(_row(segment, measured, limits, pictures.get(segment.key, "")) for segment in listed)
    left = len(result.segments) - len(listed)
    rest = f"<p class='soft'>{left} more segments are in report.parquet.</p>" if left else ""
    return (
        f"<table><thead><tr><th></th><th>time</th><th>outcome</th>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{rest}"
    )


def _row(
    segment: SegmentResult, columns: Sequence[tuple[str, str, str, str]], limits: Limits, pictures: str
) -> str:  # fmt: skip
    start_s, stop_s = segment.start / FPS, (segment.start + segment.num_frames) / FPS
    kind = "yes" if segment.is_kept else "no"
    why = f"<br><small>{html.escape(segment.why)}</small>" if segment.why else ""
    cells = []
    for _, name, text, keys in columns:
        value = getattr(segment.measures, name) if segment.measures else None
        shown = "" if value is None else text.format(value)
        is_beyond = value is not None and any(_is_beyond(value, key, limits) for key in keys.split())
        cells.append(f"<td class='n'>{f'<span class=warn>{shown}</span>' if is_beyond else shown}</td>")
    return (
        f"<tr><td>{pictures}</td><td class='n'>{start_s:.1f}–{stop_s:.1f} s</td>"
        f"<td><span class='{kind}'>{html.escape(segment.decision)}</span>{why}</td>{''.join(cells)}</tr>"
    )


def _is_beyond(value: float, key: str, limits: Limits) -> bool:
    limit = getattr(limits, key)
    if limit is None:
        return False
    return value < limit if key.startswith("min_") else value > limit
