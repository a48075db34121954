"""What was found, as one HTML file: the worst clips first, with pictures; good on a phone, light or dark, offline."""

from __future__ import annotations

import html
from collections.abc import Sequence

from anchor.preprocess.material.measures import Measures
from anchor.preprocess.material.store import Checked
from anchor.preprocess.material.verdict import Verdict

__all__ = ["render_page"]

MAX_PICTURED = 300  # clips; the page stays near 5 MB
STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d2125;--soft:#667079;--edge:#e2e4e6;--mark:#0b6e6e;
--bad:#b3261e;--warn:#8a5a00}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e6e8ea;--soft:#98a2ab;--edge:#30363c;
--mark:#53c1bd;--bad:#ff8a80;--warn:#e8bf62}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1300px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:24px;margin:0 0 2px;overflow-wrap:anywhere}.sum{font-size:17px;margin:6px 0 2px}
.soft,small{color:var(--soft)}p{margin:4px 0 14px}
table{border-collapse:collapse;width:100%;background:var(--card);border:1px solid var(--edge);border-radius:10px}
th,td{text-align:left;padding:8px 7px;border-top:1px solid var(--edge);vertical-align:top}
th{font-weight:500;font-size:12.5px;color:var(--soft);border-top:0;cursor:pointer;white-space:nowrap}
th:hover{color:var(--mark)}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td small{display:block}td b{overflow-wrap:anywhere}td.wide{min-width:290px;overflow-wrap:anywhere}
.warn{color:var(--warn);font-weight:600}
.no{color:var(--bad)}.notes{margin:3px 0 0;padding:0;list-style:none;font-size:13px}
.notes i{font-style:normal;font-weight:600;color:var(--warn)}
.shots{display:flex;gap:4px;margin:5px 0 2px}.shots img{height:70px;border-radius:4px;display:block}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 14px;font-size:13.5px}dt{font-weight:600}dd{margin:0}
@media(max-width:900px){main{padding:16px 12px 40px}table,tbody,tr,td{display:block;border:0}thead{display:none}
table{background:none}tr{background:var(--card);border:1px solid var(--edge);border-radius:10px;margin:0 0 12px;
padding:10px 12px;display:grid;grid-template-columns:repeat(3,1fr);gap:6px 8px}
td{padding:0}td:empty{display:none}td.n{text-align:left}td.wide{grid-column:1/-1;min-width:0}td[data-label]::before{content:attr(data-label);
display:block;font-size:11.5px;color:var(--soft)}.shots img{height:auto;min-width:0}
.shots img{flex:1 1 0;max-width:25%;object-fit:cover;aspect-ratio:1}
dl{grid-template-columns:1fr}dd{margin-bottom:6px;color:var(--soft)}}
"""
SCRIPT = """
document.querySelectorAll('th').forEach((th,i)=>th.onclick=()=>{const b=document.querySelector('tbody'),
d=th.dataset.d=th.dataset.d=='1'?'-1':'1';const v=r=>r.cells[i].dataset.v??r.cells[i].textContent;
[...b.rows].sort((p,q)=>{const x=v(p),y=v(q),n=x-y;return d*(isNaN(n)?x.localeCompare(y):n)}).forEach(r=>b.append(r))})
"""
HEADS = ("clip", "picture", "usable", "face", "sharpness", "luma", "speech", "noise", "silent", "sound", "lips")
MEANINGS = {
    "usable": "time with one face for at least 0.6 s, which anchor preprocess would cut into segments",
    "face": "height from forehead to chin, and the share of the frames in which it was found",
    "sharpness": "share of the face's fine detail that a small blur takes away, at 192 px: below 0.4 is soft, "
    "0.5 and more is good",
    "luma": "mean brightness of the middle of the face, of 255",
    "speech": "level while someone speaks (ITU-T P.56), in dB relative to full scale",
    "noise": "level that a tenth of the time stays below: the room between the words",
    "silent": "share of 40 ms frames below -45 dB",
    "lips": "how late the sound is against the lips (below 0: early), in 40 ms steps from -600 to +600 ms; "
    "not established where too little of it can be told",
}


def render_page(pairs: Sequence[tuple[Checked, Verdict]], summary: str, source: str) -> str:
    """The page for ``pairs``, in their order."""
    heads = "".join(f"<th{'' if i in (0, 1, 9, 10) else ' class=n'}>{head}</th>" for i, head in enumerate(HEADS))
    rows = "\n".join(_row(*pair, has_pictures=i < MAX_PICTURED) for i, pair in enumerate(pairs))
    terms = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in MEANINGS.items())
    more = f" Pictures are shown of the first {MAX_PICTURED}." if len(pairs) > MAX_PICTURED else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>anchor material check</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{html.escape(source)}</h1><p class='sum'>{html.escape(summary)}</p>"
        f"<p class='soft'>The clips that need most attention come first.{more}</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table>"
        f"<dl>{terms}</dl></main><script>{SCRIPT}</script></body></html>\n"
    )


def _row(checked: Checked, verdict: Verdict, has_pictures: bool) -> str:
    kinds = {note.kind for note in verdict.notes}
    images = "".join(f'<img alt="" src="{uri}">' for uri in checked.pictures) if has_pictures else ""
    outcome = "" if verdict.is_kept else f"<div><span class='no'>refused</span> {html.escape(verdict.reason)}</div>"
    notes = "".join(f"<li><i>{note.kind}</i> {html.escape(note.text)}</li>" for note in verdict.notes)
    outcome += f"<ul class='notes'>{notes}</ul>" if notes else ""
    lips = checked.measures.lips if checked.measures else None
    if lips and lips.status == "not established":
        outcome += f"<small>lips: {html.escape(lips.reason)}</small>"
    name = html.escape(checked.name)
    shots = f"<div class='shots'>{images}</div>" if images else ""
    parts = [f"<td class='wide' data-v='{name}'><b>{name}</b>{shots}{outcome}</td>"]
    parts += _cells(checked.measures, kinds) if checked.measures else ["<td></td>"] * (len(HEADS) - 1)
    return f"<tr>{''.join(parts)}</tr>"


def _cells(measures: Measures, kinds: set[str]) -> list[str]:
    faces, sound = measures.faces, measures.sound
    rate = f"{'about ' if measures.is_variable_rate else ''}{measures.fps:.4g} fps"
    size = f"{measures.width}x{measures.height}"
    cells = [
        _cell("picture", size, measures.height, f"{rate}, {measures.codec}", kinds & {"variable rate", "low rate"}, ""),
        _cell("usable", f"{measures.usable_s:.1f} s", measures.usable_s, f"of {measures.seconds:.1f} s", set()),
    ]
    if faces:
        found = f"in {faces.found_share:.0%}" + (f", {faces.count} at once" if faces.count > 1 else "")
        is_odd = kinds & {"small face", "face missing", "several faces"}
        cells += [
            _cell("face", f"{faces.height_px} px", faces.height_px, found, is_odd),
            _cell("sharpness", f"{faces.sharpness:.2f}", faces.sharpness, "", kinds & {"soft"}),
            _cell("luma", f"{faces.luma:.0f}", faces.luma, "", kinds & {"dark", "bright"}),
        ]
    else:
        cells += [_cell(label, "-", -1, "", set()) for label in ("face", "sharpness", "luma")]
    if sound:
        kind = {1: "mono", 2: "stereo"}.get(sound.channels, f"{sound.channels} channels")
        clipped = f"{sound.clipped_share:.2%} clipped" if sound.clipped_share >= 0.0001 else ""
        cells += [
            _cell("speech", f"{sound.level_db:.0f} dB", sound.level_db, clipped, kinds & {"quiet", "clipped sound"}),
            _cell("noise", f"{sound.noise_db:.0f} dB", sound.noise_db, "", kinds & {"noisy"}),
            _cell("silent", f"{sound.silence_share:.0%}", sound.silence_share, "", kinds & {"silent"}),
            _cell("sound", f"{sound.sample_rate / 1000:g}&nbsp;kHz", sound.sample_rate, kind, set(), ""),
        ]
    else:
        cells += [_cell(label, "-", -999, "", set()) for label in ("speech", "noise", "silent", "sound", "lips")]
    lips = measures.lips
    if lips is None:
        return [*cells, _cell("lips", "-", 99999, "", set(), "")]
    value = 9999 if lips.offset_ms is None else lips.offset_ms
    is_odd = kinds & {"sound late", "sound early"} or {"no match"} & {lips.status}
    return [*cells, _cell("lips", str(lips), value, "", set(is_odd), "")]


def _cell(label: str, text: str, value: float, below: str, why: set[str], kind: str = "n") -> str:
    shown = f"<span class='warn'>{text}</span>" if why else text
    small = f"<small>{below}</small>" if below else ""
    return f"<td class='{kind}' data-label='{label}' data-v='{value:g}'>{shown}{small}</td>"
