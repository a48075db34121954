import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import time

import lightning as L
import pytest
import torch
from small_runs import Data, fit

from lightning_modules import SyncNetModule
from lightning_modules.callbacks import ProgressLines
from lightning_modules.callbacks.memory import show_memory
from lightning_modules.callbacks.place import batches_left
from lightning_modules.callbacks.progress import count_samples, fit_line, show_seconds, wrap


class Watch(L.pytorch.callbacks.Callback):
    """Notes after each batch what the places say."""

    def __init__(self):
        self.left = []

    def on_train_batch_end(self, trainer, *_):
        self.left.append(batches_left(trainer))


def lines_of(captured):
    return [line for line in captured.err.splitlines() if line.startswith("  epoch")]


# Clips of 12, 14, 13 frames: (8 + 10 + 9) windows, 7 batches of 4 an epoch, the last with one filling window.
LENGTHS = (12, 14, 13, 20)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("end", [{"steps": 9}, {"steps": -1, "max_epochs": 2}])
def test_the_batches_left_are_those_that_follow(accumulate, end, small_expert, numbered_clips):
    watch, end = Watch(), dict(end)
    options = {"accumulate_grad_batches": accumulate, "callbacks": [watch], "limit_val_batches": 0, **end}
    fit(SyncNetModule(net=small_expert), Data(numbered_clips(lengths=LENGTHS)), val_check_interval=100, **options)
    total = len(watch.left)
    assert watch.left == [total - i - 1 for i in range(total)]


def test_the_batches_left_are_right_after_going_on(tmp_path, small_expert, numbered_clips):
    first, second = Watch(), Watch()
    options = {"accumulate_grad_batches": 2, "limit_val_batches": 0}
    data = {"source": numbered_clips(lengths=LENGTHS)}
    trainer = fit(SyncNetModule(net=small_expert), Data(**data), steps=6, callbacks=[first], **options)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    path = tmp_path / "a.ckpt"
    fit(SyncNetModule(net=small_expert), Data(**data), steps=10, ckpt_path=path, callbacks=[second], **options)
    assert second.left == [len(second.left) - i - 1 for i in range(len(second.left))]
    assert len(first.left) + len(second.left) == 18  # 7 batches an epoch take 4 steps: 10 steps are 7 + 7 + 4


def test_samples_leave_out_what_fills_a_batch_up():
    batch = {"weight_B": torch.ones(4)}
    assert count_samples(batch, world_size=3) == 12
    real = torch.full((4,), 12 / 9)  # of 12 windows on three ranks 9 count; rank 0 has four of them
    assert float(count_samples({"weight_B": real}, world_size=3)) == pytest.approx(9)


def test_the_rate_is_of_samples_without_the_time_of_validation(monkeypatch, capsys, small_expert, numbered_clips):
    monkeypatch.delenv("ANCHOR_TTY_COLUMNS", raising=False)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Clock(L.pytorch.callbacks.Callback):
        def on_train_batch_start(self, *_):
            clock[0] += 2.0

        def on_validation_start(self, *_):
            clock[0] += 1000.0

    data = Data(numbered_clips(lengths=LENGTHS))
    lines = ProgressLines(every_s=1.0)
    fit(SyncNetModule(net=small_expert), data, steps=9, val_check_interval=8, callbacks=[lines, Clock()])
    shown = lines_of(capsys.readouterr())
    assert "step 1/9  2.0 samples/s" in shown[0]
    assert "0:16 left" in shown[0]
    assert "step 7/9  1.9 samples/s" in shown[6]  # 27 windows in 14 s: the one that fills the batch up is none
    assert "step 9/9" in shown[-1]
    assert "1.9 samples/s" in shown[-1]
    assert "done" in shown[-1]
    assert shown[-1].split()[1] == "1"  # the epoch that the last batch was of, and not the one that would follow
    assert all(len(line) < 80 for line in shown)


def test_the_time_left_holds_the_validations_to_come(monkeypatch, capsys, small_expert, numbered_clips):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Clock(L.pytorch.callbacks.Callback):
        def on_train_batch_start(self, *_):
            clock[0] += 1.0

        def on_validation_batch_end(self, *_):
            clock[0] += 100.0

    data = Data(numbered_clips(lengths=LENGTHS), val_batch_size=64)
    watchers = [ProgressLines(every_s=0.5), Clock()]
    fit(SyncNetModule(net=small_expert), data, steps=6, val_check_interval=2, callbacks=watchers)
    shown = lines_of(capsys.readouterr())
    assert "0:05 left" in shown[0]
    assert "step 3/6" in shown[2]
    assert "1:43 left" in shown[2]  # three batches and the validation after the fourth; the last one is the run's end


def test_a_terminal_shows_one_line_that_renews_itself(monkeypatch, small_expert, numbered_clips):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.delenv("ANCHOR_TTY_COLUMNS", raising=False)

    class Clock(L.pytorch.callbacks.Callback):
        def on_train_batch_start(self, *_):
            clock[0] += 1.0

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with open(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        fit(SyncNetModule(net=small_expert), Data(numbered_clips()), steps=6, callbacks=[ProgressLines(), Clock()])
        monkeypatch.undo()
    os.set_blocking(master, False)
    shown = b""
    with contextlib.suppress(OSError):  # all was read
        while piece := os.read(master, 1 << 16):
            shown += piece
    os.close(master)
    shown = shown.decode()
    bars = [text for text in shown.split("\r\x1b[K") if text.startswith("  [")]
    assert re.match(r"  \[=+ +\]  epoch 0 step 1/6  4.0 samples/s  sync_loss \d\.\d+  \d\.\d GiB  0:05 left$", bars[0])
    assert all(len(bar.rstrip()) < 120 and "\n" not in bar for bar in bars[:5])
    assert bars[-1].endswith("done\r\n")
    assert bars[-1].count("\n") == 1


def test_a_parent_that_passes_our_bytes_on_says_how_wide_its_terminal_is(monkeypatch):
    assert ProgressLines().columns == 0  # captured by pytest
    monkeypatch.setenv("ANCHOR_TTY_COLUMNS", "132")
    assert ProgressLines().columns == 132


def test_only_rank_0_shows(capsys, small_expert, numbered_clips, monkeypatch):
    monkeypatch.setattr(L.Trainer, "is_global_zero", property(lambda self: False))
    fit(SyncNetModule(net=small_expert), Data(numbered_clips()), callbacks=[ProgressLines(every_s=0)])
    assert capsys.readouterr().err == ""


def test_a_line_keeps_its_columns_and_gives_losses_up_first():
    parts = [
        "epoch 12 step 123456/1000000",
        "12345 samples/s",
        "l1 0.0412",
        "sync_loss 0.2312",
        "71.2/80 GiB",
        "3 d 04:20 left",
    ]
    line = fit_line(parts, 80, None)
    assert len(line) < 80
    assert line == "  epoch 12 step 123456/1000000  12345/s  l1 0.0412  71.2/80 GiB  3 d 04:20 left"
    assert fit_line(parts, 200, 0.5).startswith("  [============            ]  epoch 12")
    for columns in range(40, 140):
        assert len(re.sub(r"\x1b\[\d+m", "", fit_line(parts, columns, 0.3))) < columns
    short = ["epoch 1 step 1/2", "7 samples/s", "1.0 GiB", "0:01 left"]
    lit, _, rest = fit_line(short, 60, 0.5).removeprefix("\x1b[7m").partition("\x1b[27m")
    assert (len(lit), len(rest)) == (30, 29)
    assert (lit + rest).strip() == "epoch 1 step 1/2  7 samples/s  1.0 GiB  0:01 left"


def test_scores_go_on_in_the_next_line():
    assert wrap(["step 20:", "val/a 0.1234", "val/b 0.1234", "val/c 0.1"], 40) == [
        "  step 20:  val/a 0.1234  val/b 0.1234",
        "    val/c 0.1",
    ]


def test_times_and_memory_read_as_people_say_them():
    assert [show_seconds(s) for s in (7, 760, 11100, 183600)] == ["0:07", "12:40", "3:05:00", "2 d 03:00"]
    assert re.fullmatch(r"\d+\.\d GiB", show_memory(torch.device("cpu")))
