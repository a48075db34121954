"""`anchor import wav2lip-tree`: folders of numbered face crops with a wav, as Wav2Lip's preprocessing leaves them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from anchor.errors import ConfigError, MediaError

if TYPE_CHECKING:
    from anchor.imports.gather import ForeignClip, Outcome

__all__ = ["import_tree"]

MAX_CLIPS = 1_000_000
MAX_LIST_BYTES = 256 * 2**20
LISTS = {"train": "train", "val": "val", "test": "test"}  # file: split


def import_tree(
    *,
    source: Path,
    out: Path,
    image_size: int = 96,
    filelists: Path | None = None,
    val_share: float = 0.1,
    seed: int = 0,
) -> None:
    """A Wav2Lip-style preprocessed tree as a set of shards.

    source: a folder of SPEAKER/CLIP/, each with 0.jpg, 1.jpg, ... (face crops at 25 fps; a missing number is a frame
    without a face, and the clip is cut there) and audio.wav. image_size: side of our crops in px; others are stretched.
    filelists: a folder with train.txt and val.txt (test.txt), a SPEAKER/CLIP a line: they say who validates, and a clip
    that none names is left out. Without them val_share of the speakers is held out, or of the time where there is one.

    A clip that cannot be used is named with its reason, and counted; report.json lists all of them.
    """
    from anchor.imports.gather import check_options, gather

    source, out = Path(source), Path(out)
    check_options(out, image_size, val_share)
    if not source.is_dir():
        raise ConfigError(f"source={source} is no folder. Give the one that holds SPEAKER/CLIP/0.jpg.")
    splits = None if filelists is None else read_lists(Path(filelists))
    gather(_clips(source, image_size, splits), out, image_size, val_share, seed, "wav2lip-tree")


def read_lists(folder: Path) -> dict[str, str]:
    """``SPEAKER/CLIP`` to its split.

    Raises:
        ConfigError: there is no list, or a line names something outside, or a clip twice.
    """
    splits: dict[str, str] = {}
    paths = {split: folder / f"{name}.txt" for name, split in LISTS.items() if (folder / f"{name}.txt").is_file()}
    if not paths:
        raise ConfigError(f"filelists={folder} holds neither train.txt nor val.txt.")
    for split, path in paths.items():
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes are too many for a list of clips.")
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            words = line.split()
            if not words:
                continue
            parts = words[0].strip("/").split("/")
            if len(parts) != 2 or any(part in ("", ".", "..") for part in parts) or words[0].startswith("/"):
                raise ConfigError(f"{path}, line {number}: {words[0][:80]!r} is no SPEAKER/CLIP.")
            name = "/".join(parts)
            if splits.setdefault(name, split) != split:
                raise ConfigError(f"{path}, line {number}: {name} stands in {splits[name]}.txt too. Keep one.")
    return splits


def _clips(source: Path, image_size: int, splits: dict[str, str] | None) -> Iterator[ForeignClip | Outcome]:
    from anchor.imports.gather import Outcome

    seen = set()
    folders = sorted(path for path in source.glob("*/*") if path.is_dir())
    if len(folders) > MAX_CLIPS:
        raise ConfigError(f"source={source} holds {len(folders)} clips, and {MAX_CLIPS} are read at once. Split it.")
    for folder in folders:
        name = f"{folder.parent.name}/{folder.name}"
        seen.add(name)
        if splits is not None and name not in splits:
            yield Outcome(name, folder.parent.name, "none of the lists names it.")
            continue
        try:
            yield _clip(source, folder, name, image_size, None if splits is None else splits[name])
        except MediaError as error:
            yield Outcome(name, folder.parent.name, str(error))
    for name in sorted(set(splits or ()) - seen):
        yield Outcome(name, name.split("/")[0], f"a list names it, and {source / name} is no folder.")


def _clip(source: Path, folder: Path, name: str, image_size: int, split: str | None) -> ForeignClip:
    import numpy as np

    from anchor.imports.gather import ForeignClip
    from anchor.imports.pictures import inside, numbered, read_jpeg, read_wav, shrink, wav_rate

    if not inside(folder, source):
        raise MediaError(f"{folder} leads out of {source}. Copy the clip itself.")
    files = numbered(folder)
    if not files:
        raise MediaError(f"{name}: it holds no 0.jpg, 1.jpg, ... . Preprocess the video again.")
    sound = folder / "audio.wav"
    wav_rate(sound, source)  # before any picture is read
    has_frame_T = np.zeros(max(files) + 1, bool)
    has_frame_T[list(files)] = True
    return ForeignClip(
        name, folder.parent.name, has_frame_T, lambda: read_wav(sound, source),
        lambda number: shrink(read_jpeg(files[number], source), image_size), split,
    )  # fmt: skip
