"""What became of every clip, for people (`report.html`) and for programs (`report.json`)."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anchor.preprocess.results import ClipResult

__all__ = ["write_report"]

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c1e21;background:#fff}
h1{font-size:1.4rem;margin:0} .sum{margin:.3rem 0 1.5rem;color:#555}
table{border-collapse:collapse;width:100%} th{text-align:left;font-weight:600;color:#555}
th,td{padding:.45rem .6rem;border-bottom:1px solid #e3e5e8;vertical-align:middle}
td.n{font-variant-numeric:tabular-nums}
figure{display:inline-block;margin:0 3px 0 0} img{height:64px;width:64px;border-radius:4px;display:block}
figcaption{font-size:.7em;color:#777;text-align:center;white-space:nowrap} .no{color:#b3261e} .yes{color:#14722e}
.note{color:#7a5b00;font-size:.85em}
@media(prefers-color-scheme:dark){body{background:#16181b;color:#e4e6e9}th,.sum{color:#a3a8ae}
th,td{border-color:#2c3035}.no{color:#ff8a80}.yes{color:#7fd695}.note{color:#e0c26e}}
"""


def write_report(out: Path, results: Sequence[ClipResult], summary: Mapping[str, Any]) -> None:
    """Write ``report.json`` and the self-contained ``report.html`` into ``out``; refused clips come first."""
    clips = []
    for result in results:
        clip = asdict(result)
        clip.pop("thumbnails")
        clip["segments"] = [
            {"key": s.key, "speaker": s.speaker, "start": s.start, "num_frames": s.num_frames}
            | ({} if s.face is None else {"face": s.face})
            for s in result.segments
        ]
        clips.append(clip)
    text = json.dumps({"summary": dict(summary), "clips": clips}, ensure_ascii=False, indent=1)
    (out / "report.json").write_text(text, encoding="utf-8")
    (out / "report.html").write_text(_page(results, summary), encoding="utf-8")


def _page(results: Sequence[ClipResult], summary: Mapping[str, Any]) -> str:
    ordered = sorted(results, key=lambda result: (result.is_kept, result.source))
    rows = "\n".join(_row(result) for result in ordered)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>anchor preprocess</title><style>{STYLE}</style><h1>anchor preprocess</h1>"
        f'<p class="sum">{html.escape(str(summary["line"]))}</p>'
        "<table><thead><tr><th>clip</th><th>speaker</th><th>face</th><th>picture</th><th>found</th><th>frames</th>"
        f"<th>outcome</th></tr></thead><tbody>\n{rows}\n</tbody></table></html>\n"
    )


def _row(result: ClipResult) -> str:
    facts = result.facts
    picture = f"{facts['width']}x{facts['height']}, {facts['fps']:g} fps, {facts['codec']}" if "width" in facts else ""
    found = f"{100 * facts['hit_rate']:.0f} %, {facts['detector']}" if "hit_rate" in facts else ""
    if "face_px" in facts:
        found += f", {facts['face_px']} px"
    if facts.get("num_faces", 1) > 1:
        found += f", {facts['num_faces']} faces"
    faces = "".join(
        f'<figure><img alt="" src="{uri}"><figcaption>{html.escape(caption)}</figcaption></figure>'
        for caption, uri in result.thumbnails
    )
    if result.is_kept:
        count = len(result.segments)
        outcome = f'<span class="yes">kept, {count} segment{"s" * (count > 1)}</span>'
    else:
        outcome = f'<span class="no">refused</span> {html.escape(result.reason)}'
    notes = "".join(f'<div class="note">{html.escape(note)}</div>' for note in result.notes)
    cells = (html.escape(result.source), html.escape(result.speaker), faces, picture, found)
    frames = facts.get("frames", 0)
    return (
        "<tr>"
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + f'<td class="n">{frames}</td><td>{outcome}{notes}</td></tr>'
    )
