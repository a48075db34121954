"""A sealed checkpoint is read if it is what was written, the newest whole one is found, and the others are told."""

import contextlib
import os
from pathlib import Path

import pytest
import torch

from anchor.errors import CheckpointError
from anchor.models import read_checkpoint
from anchor.models.seals import SealingFile, check_seal, read_seal
from launch.checkpoints import AtomicCheckpointIO, choose_resume, tidy
from launch.rendezvous import Nodes
from launch.start import START, get_start, name_start


def save(folder, step, run="one", name="last.ckpt", start=None, origin=()):
    io = AtomicCheckpointIO()
    weights = {"net.weight": torch.full((300,), float(step))}
    held = {"run": run, "random": [], "start": start, "origin": list(origin)}
    io.save_checkpoint(
        {"global_step": step, "state_dict": weights, "hyper_parameters": {}, "anchor": held}, folder / name
    )


def steps(folder):
    return {path.name: torch.load(path, weights_only=True)["global_step"] for path in folder.glob("*.ckpt")}


def damage(path, kind):
    """``kind`` bytes less, or one bit of the byte there turned."""
    data = bytearray(path.read_bytes())
    if kind == "cut":
        data = data[: len(data) * 2 // 3]
    elif kind == "empty":
        data = bytearray()
    else:
        data[int(kind * len(data))] ^= 4
    path.write_bytes(bytes(data))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "checkpoints"
    save(folder, 1)
    save(folder, 2)
    return folder


def config(folder, resume="auto"):
    return {"run_dir": str(folder.parent), "resume": resume}


def test_a_seal_says_what_stands_in_the_file_and_torch_reads_it_as_it_is(run):
    seal = check_seal(run / "last.ckpt")
    assert (seal.step, seal.run, seal.size) == (2, "one", (run / "last.ckpt").stat().st_size)
    for how in ({}, {"mmap": True}):
        assert torch.load(run / "last.ckpt", weights_only=True, **how)["global_step"] == 2


def test_what_comes_from_elsewhere_has_no_seal_and_is_read(tmp_path):
    torch.save({"hyper_parameters": {}, "state_dict": {}}, tmp_path / "plain.ckpt")
    assert check_seal(tmp_path / "plain.ckpt") is None
    assert read_checkpoint(tmp_path / "plain.ckpt")["state_dict"] == {}
    (tmp_path / "other.bin").write_bytes(b"something else")
    assert read_seal(tmp_path / "other.bin") is None


def test_the_hash_does_not_depend_on_how_the_bytes_come(tmp_path):
    torch.save({"a": torch.arange(999)}, tmp_path / "plain")
    data, seals = (tmp_path / "plain").read_bytes(), set()
    for size in (1, 21, 22, 23, 4096, len(data)):
        with (tmp_path / "sealed").open("wb") as file:
            sealing = SealingFile(file)
            for start in range(0, len(data), size):
                sealing.write(data[start : start + size])
            seals.add(sealing.seal(3))
    assert len(seals) == 1


@pytest.mark.parametrize("kind", ["cut", "empty", 0.0, 0.2, 0.5, 0.8, 0.97, 0.99, 0.999])
def test_a_damaged_newest_gives_way_to_the_one_before_and_both_are_named(run, kind):
    damage(run / "last.ckpt", kind)
    with pytest.raises(CheckpointError, match=r"last.ckpt: "):
        AtomicCheckpointIO().load_checkpoint(run / "last.ckpt")
    choice = choose_resume(config(run))
    assert choice.path == run / "last-previous.ckpt"
    (warning,) = choice.warnings
    assert f"{run / 'last.ckpt'}: the " in warning
    assert f"Going on from the one before, {run / 'last-previous.ckpt'}, of step 1." in warning
    tidy(config(run), choice)
    save(run, 2)
    assert steps(run) == {"last.ckpt": 2, "last-previous.ckpt": 1}  # the whole one, and not the damaged one


def test_stages_and_commands_refuse_a_checkpoint_with_one_bit_turned(run):
    assert float(read_checkpoint(run / "last.ckpt")["state_dict"]["net.weight"][0]) == 2
    damage(run / "last.ckpt", 0.5)
    with pytest.raises(CheckpointError, match="its bytes are not those that were written"):
        read_checkpoint(run / "last.ckpt")


def test_where_none_is_whole_the_run_does_not_begin_anew_by_itself(run):
    save(run, 1, name="best.ckpt")
    damage(run / "last.ckpt", "cut")
    damage(run / "last-previous.ckpt", 0.5)
    with pytest.raises(CheckpointError, match=r"No other checkpoint .*best.ckpt to go on from step 1 or resume=none"):
        choose_resume(config(run))
    assert choose_resume(config(run, "none")).path is None
    damage(run / "best.ckpt", "cut")
    with pytest.raises(CheckpointError, match="cut off"):
        choose_resume(config(run, str(run / "best.ckpt")))


def test_another_training_in_the_folder_is_never_fallen_back_to(run):
    save(run, 1, run="two")
    assert steps(run) == {"last.ckpt": 1}
    save(run, 2, run="two")
    assert steps(run) == {"last.ckpt": 2, "last-previous.ckpt": 1}


def begin(folder, monkeypatch, restarts=0):
    """What our agent does at a start, up to the environment of its ranks; the names that it gave."""
    nodes, names = Nodes(folder.parent / "config.yaml"), []
    for restart in range(restarts + 1):
        nodes.next_rendezvous()
        names.append(nodes.get_run_id())
        monkeypatch.setenv(START, names[-1])
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restart))
    nodes.shutdown()
    return names


def test_a_worker_started_again_goes_on_from_what_this_start_wrote_alone(tmp_path, monkeypatch):
    run = tmp_path / "checkpoints"
    (first,) = begin(run, monkeypatch)
    save(run, 7, start=get_start())
    second, same = begin(run, monkeypatch, restarts=1)  # in the same folder
    assert second == same != first
    assert choose_resume(config(run, "none")).path is None
    os.utime(run / "last.ckpt", (2**33, 2**33))  # whatever some machine's clock says
    assert choose_resume(config(run, "none")).path is None
    save(run, 5, run="three", start=get_start())
    assert choose_resume(config(run, "none")).path == run / "last.ckpt"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert choose_resume(config(run, "none")).path is None


def test_a_rank_of_torchrun_knows_its_agent_from_others(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert name_start() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # as torchrun calls every one of its runs
    mine = name_start()
    assert mine == name_start()
    monkeypatch.setattr(os, "getppid", os.getpid)
    assert name_start() != mine


def test_a_path_that_was_begun_from_is_gone_on_from_and_not_begun_again(run, tmp_path):
    other = tmp_path / "other"
    save(other, 40, run="other")
    path = other / "last.ckpt"
    first = choose_resume(config(run, str(path)))
    assert first.path == path  # what stands in the folder came of something else
    assert first.origin == (str(path), check_seal(path).sha256)
    save(run, 41, run="other", origin=first.origin)
    again = choose_resume(config(run, str(path)))
    assert (again.path, again.origin) == (run / "last.ckpt", None)
    assert "last.ckpt came of" in again.warnings[0]
    save(run, 42, run="other", origin=first.origin)
    damage(run / "last.ckpt", 0.5)
    assert choose_resume(config(run, str(path))).path == run / "last-previous.ckpt"
    save(other, 50, run="other")
    assert choose_resume(config(run, str(path))).path == path  # of that name, and something else


def test_a_best_of_this_folder_that_was_begun_from_may_be_replaced_meanwhile(run):
    save(run, 1, name="best.ckpt")
    path = run / "best.ckpt"
    origin = choose_resume(config(run, str(path))).origin
    save(run, 3, name="best.ckpt", origin=origin)
    save(run, 4, origin=origin)
    assert choose_resume(config(run, str(path))).path == run / "last.ckpt"


def test_a_checkpoint_without_a_seal_is_known_by_its_bytes(run, tmp_path):
    path = tmp_path / "plain.ckpt"
    torch.save({"a": 1}, path)
    origin = choose_resume(config(run, str(path))).origin
    save(run, 4, origin=origin)
    assert choose_resume(config(run, str(path))).path == run / "last.ckpt"
    torch.save({"a": 2}, path)
    assert choose_resume(config(run, str(path))).path == path


class Killed(BaseException):
    pass


CALLS = ("fsync", "link", "replace", "rename", "unlink")


@contextlib.contextmanager
def killed_at(monkeypatch, number):
    """Stand in for a kill -9 before the ``number``-th call that changes names or syncs: no line runs after it."""
    made = 0
    with monkeypatch.context() as patch:

        def count(do):
            def call(*arguments, **options):
                nonlocal made
                made += 1
                if made >= number:
                    raise Killed
                return do(*arguments, **options)

            return call

        for name in CALLS:
            patch.setattr(os, name, count(getattr(os, name)))
        yield


@pytest.mark.parametrize("number", range(1, 12))
def test_at_every_instant_of_a_save_the_newest_whole_checkpoint_is_found(run, monkeypatch, number):
    before = check_seal(run / "last.ckpt").step
    with killed_at(monkeypatch, number), contextlib.suppress(Killed):
        save(run, 3)
    choice = choose_resume(config(run))
    assert read_seal(choice.path).step in (before, 3)
    assert choice.path.name == "last.ckpt"
    tidy(config(run), choice)
    assert {path.name for path in run.iterdir()} <= {"last.ckpt", "last-previous.ckpt"}
    whole = [check_seal(path).step for path in run.iterdir()]
    assert len(whole) == 2
    save(run, 4)
    assert steps(run)["last.ckpt"] == 4


def test_without_hard_links_the_one_before_counts_while_names_change(run, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    save(run, 3)
    assert steps(run) == {"last.ckpt": 3, "last-previous.ckpt": 2}
    (run / "last.ckpt").rename(run / "away")
    choice = choose_resume(config(run))
    assert choice.path.name == "last-previous.ckpt"
    assert "last.ckpt is missing" in choice.warnings[0]


def test_space_is_asked_for_before_a_byte_is_written(run, monkeypatch):
    state = os.statvfs(run)
    small = os.statvfs_result([*state[:4], 3, *state[5:]])
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    with pytest.raises(CheckpointError, match=r"last.ckpt: .* it needs 1 MiB and 0 MiB are free"):
        save(run, 3)
    assert steps(run) == {"last.ckpt": 2, "last-previous.ckpt": 1}
    assert len(list(run.iterdir())) == 2


def test_a_better_checkpoint_that_could_not_be_written_replaces_none(tmp_path):
    io = AtomicCheckpointIO()
    io.save_checkpoint({"global_step": 1}, tmp_path / "best-1.ckpt")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError):
        io.save_checkpoint({"global_step": 2}, tmp_path / "file" / "best-2.ckpt")
    io.remove_checkpoint(tmp_path / "best-1.ckpt")
    assert (tmp_path / "best-1.ckpt").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_folder_without_the_right_to_write_is_an_error(run):
    child = os.fork()
    if child == 0:
        os.chmod(run, 0o555)
        os.setuid(65534)
        try:
            save(run, 3)
        except CheckpointError as error:
            os._exit(7 if "could not be written" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert steps(Path(run))["last.ckpt"] == 2


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/nowhere")], ids=["pipe", "link"])
def test_what_is_no_file_in_the_place_of_a_checkpoint_is_not_waited_for(run, put):
    """A save, and a start, waited for ever for the other end of a pipe."""
    (run / "last.ckpt").unlink()
    put(run / "last.ckpt")
    chosen = choose_resume(config(run))
    assert chosen.path == run / "last-previous.ckpt"
    save(run, 3)
    assert steps(run) == {"last.ckpt": 3, "last-previous.ckpt": 1}
