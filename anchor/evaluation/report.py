"""report.html: one file that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anchor.evaluation.charts import Line, line_chart
from anchor.evaluation.curves import Run
from anchor.evaluation.expert_page import reliability_chart, speaker_table
from anchor.evaluation.gallery import Failure
from anchor.evaluation.mouths import Strip
from anchor.evaluation.sync import MAX_SHIFT
from anchor.evaluation.table import Line as TableLine
from anchor.evaluation.table import rows_of
from anchor.timing import FPS

__all__ = ["Shown", "render_report"]

TILE = 96  # px at least, so that small crops can be looked at
STRIP_QUALITY = 90
PICTURES = (
    "Crops as the generator draws them, before they are pasted back: the lower half is drawn, the upper half is real. "
    "Seconds are those of the speech."
)
LEVELS = {"pair_accuracy": 0.5, "foreign_accuracy": 0.5, "jitter_ratio": 1.0}  # where a curve has a natural level
LEVEL_LABELS = {"pair_accuracy": "chance", "foreign_accuracy": "chance", "jitter_ratio": "natural"}

STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d2125;--soft:#667079;--edge:#e2e4e6;--mark:#0b6e6e;
--c0:#0b6e6e;--c1:#d1711f;--c2:#5b57c4;--c3:#b8336a;--c4:#6b8e23;--c5:#7a6a58}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e6e8ea;--soft:#98a2ab;--edge:#30363c;
--mark:#53c1bd;--c0:#53c1bd;--c1:#f0a35e;--c2:#a5a1f5;--c3:#f07ba8;--c4:#b3d465;--c5:#c9b79f}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 4px}
p{margin:4px 0 12px}.soft{color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:10px 0;font-size:13px}
dt{color:var(--soft)}dd{margin:0}dd,li{overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:12px;margin:18px 0}
.tile{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:12px 16px}
.tile b{display:block;font-size:25px;font-weight:600;color:var(--mark);font-variant-numeric:tabular-nums}
.tile span{font-size:13px}.tile small{display:block;color:var(--soft);font-size:12px}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--edge);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:7px 12px;border-top:1px solid var(--edge);vertical-align:top}
tr:first-child th{border-top:0;color:var(--soft);font-weight:500;font-size:12.5px}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.n.our{font-weight:600}td small{color:var(--soft);display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:12px}
figure{margin:0;background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:10px 12px 6px}
figcaption{font-size:13px;margin-bottom:4px}svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:10.5px}.grid{stroke:var(--edge)}.level{stroke:var(--soft);stroke-dasharray:4 4}
polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}
.key{font-size:12px;color:var(--soft);margin-left:8px;white-space:nowrap}
.key i{display:inline-block;width:10px;height:3px;margin-right:4px;vertical-align:middle}
""" + "".join(
    f"polyline.c{i}{{stroke:var(--c{i})}}circle.c{i}{{fill:var(--c{i})}}i.c{i}{{background:var(--c{i})}}\n"
    for i in range(6)
)
STRIP_STYLE = """
.strip{margin:12px 0 22px;overflow-x:auto;background:var(--card);border:1px solid var(--edge)}
.strip{border-radius:10px;padding:12px}
.strip .row{display:grid;grid-template-columns:118px minmax(640px,1fr);gap:10px;align-items:center;margin-top:3px}
.strip .row span{font-size:12.5px;color:var(--soft);text-align:right}
.strip .ours span{color:var(--mark);font-weight:600}
.strip img{display:block;width:100%;height:auto;border-radius:3px}
.times{display:flex}.times i{flex:1;text-align:center;font:11px system-ui;color:var(--soft)}
"""
FILM_STYLE = """
.films{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,700px),1fr));gap:12px}
.films video{display:block;width:100%;height:auto;border-radius:6px;background:#000}
.worst{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:12px}
.worst img{display:block;width:100%;height:auto;border-radius:3px}
.worst b{color:var(--mark)}.worst small{color:var(--soft);display:block;overflow-wrap:anywhere}
@media(max-width:560px){main{padding:18px 12px 40px}h1{font-size:22px}dl{grid-template-columns:1fr}
th,td{padding:6px 8px}.strip .row{grid-template-columns:84px minmax(560px,1fr)}
.tiles{grid-template-columns:repeat(2,1fr)}.tile{padding:10px 12px}.tile b{font-size:21px}}
"""


@dataclass(frozen=True)
class Shown:
    """What is looked at, and not only read."""

    strips: Sequence[Strip] = ()
    films: Sequence[Path] = ()  # mp4s, in the order of the record's films
    failures: Sequence[Failure] = field(default_factory=list)


def render_report(record: Mapping[str, Any], shown: Shown, runs: Sequence[Run]) -> str:
    """The whole page for what stands in scores.json, its films and pictures, and the curves of the runs."""
    others = {name: other["scores"] for name, other in record["compared"].items()}
    parts = [_head(record), _tiles(record["scores"]), _films(record["films"], shown.films)]
    for group, text, rows in rows_of(record["scores"], others):
        parts.append(
            f"<h2>{html.escape(group)}</h2><p class='soft'>{html.escape(text)}</p>{_table(rows, list(others))}"
        )
        if group == "Expert":
            parts.append(_expert_charts(record["details"]))
    parts.append(_referee_chart(record["details"]))
    if shown.failures:
        parts.append(_gallery(shown.failures))
    if shown.strips:
        parts.append(f"<h2>Pictures</h2><p class='soft'>{PICTURES}</p>")
        parts += [_strip(strip) for strip in shown.strips]
    if runs:
        parts.append("<h2>How it was learnt</h2>" + "".join(_run(run) for run in runs))
    parts.append(_notes(record))
    title = f"anchor: {record['stage']}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{STRIP_STYLE}{FILM_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(record: Mapping[str, Any]) -> str:
    speakers = {clip["speaker"] for clip in record["clips"]}
    facts = {
        "generator": record["checkpoint"] if record["stage"] != "syncnet" else None,
        "expert": record["expert"],
        "data": f"{record['data']}, split {record['split']}",
        "clips": f"{_count(record['clips'], 'clip')} of {_count(speakers, 'speaker')}, "
        f"{sum(clip['num_frames'] for clip in record['clips']) / FPS:.0f} s",
        "held out by": record["held_out_by"],
        "protocols": ", ".join(record["protocols"]) or None,
        "compared with": ", ".join(f"{name}: {one['checkpoint']}" for name, one in record["compared"].items()) or None,
        "landmarks": record["landmarks"],
        "mel": record["mel_config_hash"],
        "machine": record["device"],
        "seed": record["seed"],
    }
    lines = "".join(
        f"<dt>{name}</dt><dd>{html.escape(str(value))}</dd>" for name, value in facts.items() if value is not None
    )
    return f"<h1>Evaluation: {html.escape(record['stage'])}</h1><dl>{lines}</dl>"


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'s' * (len(things) != 1)}"


def _tiles(scores: Mapping[str, float]) -> str:
    """The few numbers that one asks for first."""
    first = {
        "expert/pair_accuracy",
        "expert/offset_within_one",
        "dub/opening_r",
        "dub/referee_prefers_true",
        "self/mouth_psnr",
        "self/jitter_ratio",
        "self/sharpness_ratio",
        "speed/frames_per_second",
    }
    if "dub/opening_r" not in scores:
        first.add("dub/motion_r")
    tiles = []
    for group, _, rows in rows_of(scores):
        for line in rows:
            row, ours, real, control = line.row, line.ours, line.real, line.control
            if row.name in first:
                beside = [f"real: {real}"] if real else []
                beside += [f"{'chance' if row.control_label == 'chance' else 'control'}: {control}"] if control else []
                label = html.escape(f"{group}: {row.label}")
                tiles.append(
                    f"<div class='tile'><b>{ours}</b><span>{label}</span><small>{', '.join(beside)}&nbsp;</small></div>"
                )
    return f"<div class='tiles'>{''.join(tiles)}</div>"


def _table(rows: Sequence[TableLine], others: Sequence[str]) -> str:
    better = {"high": "higher is better", "low": "lower is better", "one": "1 is natural", "zero": "0 is right", "": ""}
    has_real, has_control = any(line.real for line in rows), any(line.control for line in rows)
    others = others if any(any(line.others) for line in rows) else []
    head = "<th>score</th><th class='n'>ours</th>" + "".join(f"<th class='n'>{html.escape(o)}</th>" for o in others)
    head += (
        "<th class='n'>ground truth</th>" * has_real
        + "<th class='n'>to compare</th>" * has_control
        + "<th>what it is</th>"
    )
    body = []
    for line in rows:
        row, real, control = line.row, line.real, line.control
        cells = f"<td>{html.escape(row.label)}</td><td class='n our'>{line.ours}</td>"
        cells += "".join(f"<td class='n'>{cell}</td>" for cell in line.others) if others else ""
        cells += f"<td class='n'>{real}</td>" * has_real
        note = f"<small>{html.escape(row.control_label)}</small>" if control else ""
        cells += f"<td class='n'>{control}{note}</td>" * has_control
        hint = f"<small>{better[row.better]}</small>" if better[row.better] else ""
        body.append(f"<tr>{cells}<td>{html.escape(row.meaning)}{hint}</td></tr>")
    return f"<div class='scroll'><table><tr>{head}</tr>{''.join(body)}</table></div>"


def _expert_charts(details: Mapping[str, Any]) -> str:
    charts = []
    if "shift_curve" in details:
        shifts = [Line("mean cosine", [(i - MAX_SHIFT, value) for i, value in enumerate(details["shift_curve"])])]
        charts.append(line_chart("Mean cosine by shift of the speech", shifts, "frames that the speech is late"))
    if details.get("accuracy_by_distance"):
        distances = [(float(key), value) for key, value in details["accuracy_by_distance"].items()]
        charts.append(line_chart("Pair accuracy by distance", [Line("", distances)], "frames apart (below 5 the windows overlap)", 0.5, "chance"))  # fmt: skip  # noqa: E501
    if details.get("offsets"):
        counts = [(k, details["offsets"].count(k)) for k in range(-MAX_SHIFT, MAX_SHIFT + 1)]
        charts.append(
            line_chart("Offsets found, number of clips", [Line("clips", counts)], "frames that the speech is late")
        )
    charts.append(reliability_chart(details))
    shown = "".join(charts)
    return (f"<div class='charts' style='margin-top:12px'>{shown}</div>" if shown else "") + speaker_table(details)


def _films(films: Sequence[Mapping[str, str]], paths: Sequence[Path]) -> str:
    """Films inside the page: it may be sent away alone."""
    if not films:
        return ""
    figures = []
    for film, path in zip(films, paths, strict=True):
        uri = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
        caption = f"<b>{html.escape(film['title'])}</b> <span class='key'>{html.escape(film['panels'])}</span>"
        video = f'<video controls loop playsinline preload="metadata" src="{uri}"></video>'
        figures.append(f"<figure><figcaption>{caption}</figcaption>{video}</figure>")
    text = "<h2>Watch and listen</h2><p class='soft'>From left to right as the names say, in step, with sound.</p>"
    return f"{text}<div class='films'>{''.join(figures)}</div>"


def _referee_chart(details: Mapping[str, Any]) -> str:
    """The share of the mouth's movement that the speech explains, by shift."""
    names = {"real": "real", "self": "drawn, own speech", "dub": "drawn, other speech"}
    curves = details.get("referee_curves") or {}
    lines = [
        Line(label, [(i - MAX_SHIFT, value) for i, value in enumerate(curves[kind])])
        for kind, label in names.items()
        if kind in curves
    ]
    if not lines:
        return ""
    chart = line_chart("Explained by speech shifted so far", lines, "frames that the speech is late", 0.0, "nothing")
    text = (
        "Ridge regression from the sound to the mouth's shape, asked about seconds it did not learn from. It needs no "
        "network, and no generator was taught to please it. A mouth that speaks has its peak at 0."
    )
    return f"<h2>Referee</h2><p class='soft'>{text}</p><div class='charts'>{chart}</div>"


def _gallery(failures: Sequence[Failure]) -> str:
    figures = []
    for number, one in enumerate(failures, 1):
        rows = [np.hstack([_enlarged(picture) for picture in row]) for row in one.rows]
        caption = f"<b>{number}</b> {html.escape(one.why)}"
        where = f"<small>{html.escape(one.key)}, from {one.first_frame / FPS:.1f} s</small>"
        image = f'<img alt="real above, drawn below" src="{_data_uri(np.vstack(rows))}">'
        figures.append(f"<figure><figcaption>{caption}{where}</figcaption>{image}</figure>")
    text = (
        "The worst seconds with their own speech: real above, drawn below, and what stands out most against the rest."
    )
    return f"<h2>Worst {len(figures)} seconds</h2><p class='soft'>{text}</p><div class='worst'>{''.join(figures)}</div>"


def _strip(strip: Strip) -> str:
    rows = []
    for label, pictures in strip.rows:
        ours = "" if label.startswith("real") else " ours"
        uri = _data_uri(np.hstack([_enlarged(picture) for picture in pictures]))
        rows.append(f'<div class="row{ours}"><span>{label}</span><img alt="{label}" src="{uri}"></div>')
    times = "".join(f"<i>{frame / FPS:.2f} s</i>" for frame in strip.frames)
    rows.append(f'<div class="row"><span></span><div class="times">{times}</div></div>')
    return f'<div class="strip"><b>{html.escape(strip.title)}</b>{"".join(rows)}</div>'


def _run(run: Run) -> str:
    charts = []
    for name in dict.fromkeys(key.split("/", 1)[-1] for key in run.curves):
        lines = [Line(key.split("/")[0], points) for key, points in run.curves.items() if key.split("/", 1)[-1] == name]
        title = name if len(lines) > 1 else f"{lines[0].label}/{name}"
        charts.append(line_chart(title, lines, "step", LEVELS.get(name), LEVEL_LABELS.get(name, "")))
    name = f"<b>{html.escape(run.name)}</b> <span class='soft'>{run.steps} steps, {run.seconds / 60:.1f} min</span>"
    return f"<p>{name}</p><div class='charts'>{''.join(charts)}</div>"


def _notes(record: Mapping[str, Any]) -> str:
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in record["notes"])
    skipped = "".join(f"<li>{html.escape(why)}</li>" for why in record["skipped"].values())
    text = f"<h2>Read this with it</h2><ul class='soft'>{notes}</ul>" if notes else ""
    return text + (f"<h2>Skipped</h2><ul class='soft'>{skipped}</ul>" if skipped else "")


def _enlarged(picture: np.ndarray) -> np.ndarray:
    if picture.shape[0] >= TILE:
        return picture
    return cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_CUBIC)


def _data_uri(picture: np.ndarray) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, STRIP_QUALITY]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    assert done, "cv2 could not encode a strip"
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
