"""What the wandb client wrote offline, read back: records of its own protobuf in blocks of a LevelDB-like log."""

import json
import struct
from pathlib import Path

BLOCK = 32_768
FILE_HEADER = 7  # ":W&B", a magic number of two bytes, a version
RECORD_HEADER = 7  # checksum, length, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_records(path):
    """The records of a ``.wandb`` file in their order, up to where it is whole."""
    from wandb.proto import wandb_internal_pb2

    data = Path(path).read_bytes()
    assert data[:4] == b":W&B", data[:8]
    place, parts = FILE_HEADER, []
    while place + RECORD_HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < RECORD_HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + RECORD_HEADER])
        parts.append(data[place + RECORD_HEADER : place + RECORD_HEADER + length])
        place += RECORD_HEADER + length
        if place > len(data):
            return
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


class WrittenRun:
    """One part of a run, as it stands in its folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.path,) = self.folder.glob("*.wandb")
        self.records = list(read_records(self.path))

    def of_kind(self, kind):
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    @property
    def run(self):
        return self.of_kind("run")[0]

    @property
    def config(self):
        found = {}
        for update in [self.run.config, *self.of_kind("config")]:
            found |= {item.key: json.loads(item.value_json) for item in update.update}
        return found

    @property
    def history(self):
        """Rows of numbers and media by name; a nested key is joined by dots."""
        return [
            {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row.item}
            for row in self.of_kind("history")
        ]

    @property
    def made(self):
        """Artefacts that the run left, by alias."""
        return {alias: it for it in self.of_kind("artifact") if not it.use_after_commit for alias in it.aliases}

    @property
    def used(self):
        """Artefacts that the run used, by their names."""
        return {it.name: it for it in self.of_kind("artifact") if it.use_after_commit}

    @property
    def exit_code(self):
        return self.of_kind("exit")[-1].exit_code


def written_runs(run_dir):
    """The parts of the run in ``run_dir`` in the order of their starts."""
    folders = sorted((Path(run_dir) / "wandb").glob("offline-run-*"), key=lambda folder: folder.stat().st_ctime)
    return [WrittenRun(folder) for folder in sorted(folders, key=lambda folder: folder.name)]
