"""What is rewritten is the old file or the new one, and what was cut off is read as far as it goes."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from anchor.files import append_whole, read_records, write_whole
from datamodules.record import KeyRecord
from launch import worker
from lightning_modules.callbacks import MetricsRecord

TORN = b'{"step": 20, "seconds": 2.0, "tr\x00\x00\xc3'


def trainer_at(batches):
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=batches - 1))
    source = SimpleNamespace(clips=[])
    strategy = SimpleNamespace(barrier=lambda name: None)
    return SimpleNamespace(
        is_global_zero=True, fit_loop=loop, datamodule=SimpleNamespace(source=source), strategy=strategy
    )


def fail_to_sync(descriptor):
    raise OSError(28, "No space left on device")


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path, monkeypatch):
    write_whole(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", fail_to_sync)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_result_is_whole_or_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_to_sync)
    with pytest.raises(OSError, match="No space"):
        worker._write_result(tmp_path, {"steps": 1})
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    worker._write_result(tmp_path, {"steps": 1})
    assert json.loads((tmp_path / "result.json").read_text()) == {"steps": 1}


def test_lines_that_are_no_record_are_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"step": 1, "keys": ["a\xe2\x80\xa8b"]}\n[2]\n{"step": null}\n\n{"step": 3}\n' + TORN)
    assert read_records(path) == [{"step": 1, "keys": ["a\u2028b"]}, {"step": 3}]


@pytest.mark.parametrize("is_full", [False, True])
def test_metrics_with_a_torn_last_line_are_gone_on_with(tmp_path, monkeypatch, is_full):
    path = tmp_path / "metrics.jsonl"
    whole = b'{"step": 5, "epoch": 0, "seconds": 7.5, "val/loss": 1.0}\n{"step": 30, "seconds": 9.0}\n'
    path.write_bytes(whole + TORN)
    record = MetricsRecord(str(tmp_path))
    if is_full:  # what stands there is not lost
        monkeypatch.setattr(os, "fsync", fail_to_sync)
        with pytest.raises(OSError, match="No space"):
            record.on_train_start(trainer_at(20), None)
        assert path.read_bytes() == whole + TORN
        return
    record.on_train_start(trainer_at(20), None)
    assert path.read_text() == '{"step": 5, "epoch": 0, "seconds": 7.5, "val/loss": 1.0}\n'
    assert record.validated == 5


def test_keys_with_a_torn_line_are_gone_on_with(tmp_path, monkeypatch):
    path = tmp_path / "rank-1.jsonl"
    path.write_bytes('{"step": 1, "keys": ["é 1"]}\n'.encode() + TORN + b"\n")
    record = KeyRecord(str(tmp_path))
    record.load_state_dict({"step": 4})
    monkeypatch.setattr(os, "fsync", fail_to_sync)
    with pytest.raises(OSError, match="No space"):
        record.on_train_start(trainer_at(4), None)
    assert path.read_bytes().endswith(TORN + b"\n")
    monkeypatch.undo()
    record.on_train_start(trainer_at(4), None)
    assert path.read_text() == '{"step": 1, "keys": ["é 1"]}\n'


class Full:
    """A file on a disk that takes so many bytes more: a stand-in for a real one, which takes the right to mount."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(28, "No space left on device")
        taken, self.room = data[: self.room], 0
        return self.file.write(taken)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.mark.parametrize("room", [0, 7])
def test_lines_that_do_not_fit_leave_no_half_and_come_later(tmp_path, monkeypatch, capsys, room):
    path = tmp_path / "metrics.jsonl"
    append_whole(path, "first\n")
    do_open = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, *a, **k: Full(do_open(self, *a, **k), room))
        with pytest.raises(OSError, match="No space"):
            append_whole(path, "the second line\n")
        assert path.read_bytes() == b"first\n"
        record, trainer = MetricsRecord(str(tmp_path)), trainer_at(20)
        trainer.callback_metrics, trainer.current_epoch = {"train/loss": 0.5}, 0
        for _ in range(2):
            record.on_train_batch_end(trainer, None)
    assert capsys.readouterr().err.count("its lines wait in memory") == 1
    record.on_train_batch_end(trainer, None)
    assert path.read_text().count('"step": 20') == 3
    assert path.read_text().startswith("first\n")
