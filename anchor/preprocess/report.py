"""What became of every clip: `report.html` for people, `report.json` and `report.parquet` for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from anchor.preprocess.page import render_page
from anchor.preprocess.results import ClipResult
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.table import write_table

__all__ = ["write_report"]


def write_report(
    out: Path,
    results: Sequence[ClipResult],
    summary: Mapping[str, Any],
    settings: ClipSettings,
    sides: Mapping[str, str],
) -> None:
    """Write the three reports into ``out``; ``sides`` says for every kept key whether it trains or validates."""
    with (out / "report.json").open("w", encoding="utf-8") as file:  # clip by clip: there may be very many
        file.write(f'{{"summary": {json.dumps(dict(summary), ensure_ascii=False)},\n"clips": [\n')
        for number, result in enumerate(results):
            file.write(f"{',' * (number > 0)}{json.dumps(_describe(result), ensure_ascii=False)}\n")
        file.write("]}\n")
    (out / "report.html").write_text(render_page(results, summary, settings), encoding="utf-8")
    write_table(out / "report.parquet", results, sides)


def _describe(result: ClipResult) -> dict[str, Any]:
    clip = asdict(replace(result, thumbnails=[], fingerprint={}, segments=[]))
    del clip["thumbnails"], clip["fingerprint"]
    clip["segments"] = [_brief(segment) for segment in result.kept_segments]
    clip["left_out"] = [_brief(segment) for segment in result.segments if not segment.is_kept]
    return clip


def _brief(segment: Any) -> dict[str, Any]:
    fields = asdict(segment)
    del fields["num_bytes"]
    for name in ("face", "measures"):
        if fields[name] is None:
            del fields[name]
    return fields
