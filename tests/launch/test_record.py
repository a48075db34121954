"""A refused command leaves the record of the run in its folder as it was."""

import logging
import os

from launch.record import RunRecord


def test_the_configuration_is_put_back_unless_the_run_has_saved(tmp_path):
    config, last = tmp_path / "config.yaml", tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.write_bytes(b"one")
    config.write_text("seed: 0")
    record = RunRecord(tmp_path)
    config.write_text("seed: 5")
    record.put_back()
    assert config.read_text() == "seed: 0"
    record = RunRecord(tmp_path)
    config.write_text("seed: 5")
    last.write_bytes(b"two")
    os.utime(last, ns=(1, last.stat().st_mtime_ns + 10**9))
    record.put_back()
    assert config.read_text() == "seed: 5"


def test_a_folder_without_a_run_stays_as_it_is(tmp_path):
    record = RunRecord(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 5")
    record.put_back()
    assert (tmp_path / "config.yaml").read_text() == "seed: 5"


def test_a_command_refused_before_it_began_leaves_no_folder(tmp_path):
    new, used = tmp_path / "new", tmp_path / "used"
    for folder in (new, used):
        (folder / ".hydra").mkdir(parents=True)
    (used / "metrics.jsonl").write_text("{}")
    for folder in (new, used):
        RunRecord(folder).leave_nothing()
    assert not new.exists()
    assert (used / ".hydra").is_dir()
    begun = tmp_path / "begun"
    begun.mkdir()
    record = RunRecord(begun)
    (begun / "config.yaml").write_text("seed: 5")
    record.leave_nothing()
    assert (begun / "config.yaml").is_file()


def test_the_log_of_a_folder_that_is_gone_is_written_to_no_more(tmp_path):
    (tmp_path / "new" / ".hydra").mkdir(parents=True)
    root, handler = logging.getLogger(), logging.FileHandler(tmp_path / "new" / "cli.log")
    root.addHandler(handler)
    RunRecord(tmp_path / "new").leave_nothing()
    assert handler not in root.handlers
    assert not (tmp_path / "new").exists()
