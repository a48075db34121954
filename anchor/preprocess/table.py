"""The report as a table: a row per segment that was considered, every measure a typed column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from anchor.preprocess.cleaning.measures import SegmentMeasures
from anchor.preprocess.results import ClipResult
from anchor.preprocess.spool import writing
from anchor.timing import FPS

__all__ = ["write_table"]

BATCH = 10_000  # clips turned into rows at once
MEASURES = tuple(field.name for field in fields(SegmentMeasures))
TEXTS = ("clip", "key", "speaker", "split", "decision", "why", "clip_reason", "offset_status", "offset_reason",
         "duplicate_of", "codec", "detector", "reader")  # fmt: skip
WHOLE = ("face", "start_frame", "num_frames", "width", "height")
REAL = ("start_s", "seconds", *MEASURES, "offset_ms", "offset_confidence", "corrected_ms", "duplicate_error", "fps",
        "hit_rate", "clip_seconds")  # fmt: skip
CLIP_FACTS = ("duplicate_of", "codec", "detector", "reader", "width", "height", "duplicate_error", "fps", "hit_rate")


def write_table(path: Path, results: Sequence[ClipResult], sides: Mapping[str, str]) -> None:
    """Write ``results`` to the Parquet file ``path``; a clip refused before it was cut has one row without a key."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(name, pa.string()) for name in TEXTS]
        + [("is_kept", pa.bool_())]
        + [(name, pa.int32()) for name in WHOLE]
        + [(name, pa.float64()) for name in REAL]
    )
    with writing(path), pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(results), BATCH):
            rows = [row for result in results[start : start + BATCH] for row in _rows(result, sides)]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _rows(result: ClipResult, sides: Mapping[str, str]) -> list[dict[str, Any]]:
    facts = result.facts
    clip = {"clip": result.source, "speaker": result.speaker, "clip_reason": result.reason or None,
            "clip_seconds": facts.get("seconds"), **{name: facts.get(name) for name in CLIP_FACTS}}  # fmt: skip
    if not result.segments:
        is_copy = "duplicate_of" in facts
        return [{**clip, "decision": "duplicate" if is_copy else "refused", "why": result.reason, "is_kept": False}]
    rows = []
    for segment in result.segments:
        offset = facts.get("offset", {})
        own = offset.get("faces", {}).get(str(segment.face), offset)
        rows.append(
            {
                **clip, "key": segment.key, "speaker": segment.speaker, "split": sides.get(segment.key),
                "decision": segment.decision, "why": segment.why or None, "is_kept": segment.is_kept,
                "face": segment.face, "start_frame": segment.start, "num_frames": segment.num_frames,
                "start_s": segment.start / FPS, "seconds": segment.num_frames / FPS,
                **(asdict(segment.measures) if segment.measures else {}),
                "offset_status": own.get("status"), "offset_reason": own.get("reason") or None,
                "offset_ms": own.get("offset_ms"), "offset_confidence": own.get("confidence"),
                "corrected_ms": offset.get("corrected_ms"),
            }
        )  # fmt: skip
    return rows
