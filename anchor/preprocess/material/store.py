"""What was measured of each clip, kept in the report's folder: a second run measures only what is new or changed."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from anchor.ops.jpeg import encode_rgb
from anchor.preprocess.material.measures import Measures, Pictures, measures_from
from anchor.preprocess.sources import Source

__all__ = ["Checked", "Store", "picture_uris"]

VERSION = 2  # raise it when the same file would be measured otherwise
QUALITY = 80


@dataclass(frozen=True)
class Checked:
    """One video after it was measured, or could not be."""

    name: str
    path: Path
    measures: Measures | None
    reason: str = ""  # why it could not be measured
    pictures: tuple[str, ...] = ()  # data URIs: the whole frame first, then faces
    is_final: bool = True  # the same file would come out the same


class Store:
    """One JSON file per clip in ``folder``; a file of another version, detector or video counts as absent."""

    def __init__(self, folder: Path, detector: str) -> None:
        self._folder, self._detector = folder, detector

    def load(self, source: Source) -> Checked | None:
        """What was measured of ``source`` as it is now; None where nothing was."""
        try:
            record = json.loads(self._path(source).read_text(encoding="utf-8"))
            if record["made_from"] != self._made_from(source):
                return None
            measures = measures_from(record["measures"]) if record["measures"] else None
            return Checked(source.name, source.path, measures, record["reason"], tuple(record["pictures"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, source: Source, checked: Checked) -> None:
        """Keep ``checked``; it stands there whole or not at all."""
        if not checked.is_final:
            return
        record = {
            "made_from": self._made_from(source),
            "measures": asdict(checked.measures) if checked.measures else None,
            "reason": checked.reason,
            "pictures": checked.pictures,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(source)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(record), encoding="utf-8")
        partial.replace(path)

    def _path(self, source: Source) -> Path:
        return self._folder / f"{source.key}.json"

    def _made_from(self, source: Source) -> list[str | int]:
        state = source.path.stat()
        return [VERSION, self._detector, source.name, state.st_size, state.st_mtime_ns]


def picture_uris(pictures: Pictures) -> tuple[str, ...]:
    """The pictures as JPEGs in data URIs."""
    shown = ([] if pictures.view is None else [pictures.view]) + pictures.faces
    return tuple(
        f"data:image/jpeg;base64,{base64.b64encode(encode_rgb(picture, QUALITY)).decode('ascii')}" for picture in shown
    )
