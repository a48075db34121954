"""The parts of the tracker, each by itself."""

import atexit
import errno
import io
import json
import subprocess
import time
from types import SimpleNamespace
from urllib.request import HTTPRedirectHandler

import numpy as np
import pytest
import torch
from saved_networks import save_network

from anchor.export import export
from anchor.models.seals import read_seal
from launch.checkpoints import AtomicCheckpointIO
from launch.locks import claim, hold, is_held
from launch.tracking.account import base_url, has_key, look_at_server, shown_server
from launch.tracking.callback import TrackingCallback, held_origin, histogram, sealed_hash, without_secrets
from launch.tracking.feed import Feed
from launch.tracking.git import describe_git
from launch.tracking.lineage import checkpoint_artefact, hash_file
from launch.tracking.logger import WandbTracker
from launch.tracking.media import DrawnClip, clip_frames, draw_strip


def git(folder, *words):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_state_of_the_code_is_told_without_passwords(tmp_path):
    assert describe_git(tmp_path) == {}
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-b", "trunk")
    (folder / "a.py").write_text("x = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    git(folder, "remote", "add", "origin", "https://me:pass@example.org/code.git")
    clean = describe_git(tmp_path, folder)
    assert len(clean["commit"]) == 40
    assert (clean["branch"], clean["dirty"], clean["patch_bytes"], clean["untracked"]) == ("trunk", False, 0, 0)
    assert clean["remote"] == "https://example.org/code.git"
    (folder / "a.py").write_text("x = 2\n")
    (folder / "new.py").write_text("")
    dirty = describe_git(folder)
    assert (dirty["dirty"], dirty["untracked"]) == (True, 1)
    assert dirty["patch_bytes"] > 50


def test_a_checkpoint_has_one_name_wherever_it_lies_and_so_has_its_export(tmp_path):
    first, second = tmp_path / "a" / "last.ckpt", tmp_path / "b" / "other.ckpt"
    for path in (first, second):
        path.parent.mkdir()
        path.write_bytes(b"weights")
    one, other = (checkpoint_artefact(path, "generator") for path in (first, second))
    assert (one.name, one.reference, one.member) == (other.name, other.reference, other.member)
    assert one.about["path"] == str(first)
    second.write_bytes(b"weightS")
    assert checkpoint_artefact(second, "generator").name != one.name
    export = tmp_path / "export"
    export.mkdir()
    (export / "card.json").write_text(json.dumps({"source": {"file": "last.ckpt", "sha256": hash_file(first)}}))
    (export / "model.safetensors").write_bytes(b"x")
    for path in (export, export / "model.safetensors"):
        assert checkpoint_artefact(path, "generator").name == one.name


def test_a_sealed_checkpoint_and_its_export_are_named_by_the_seal(tmp_path, small_generator):
    path = save_network(tmp_path / "plain.ckpt", small_generator)
    assert sealed_hash(path) is None
    sealed = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(torch.load(path, weights_only=True), sealed)
    seal = sealed_hash(sealed)
    assert seal == read_seal(sealed).sha256
    named = checkpoint_artefact(sealed, "generator", {}, seal)
    assert named.reference == f"sha256://{seal}"
    export(checkpoint=sealed, out=tmp_path / "out")
    assert sealed_hash(tmp_path / "out") is None
    assert checkpoint_artefact(tmp_path / "out", "generator").reference == named.reference
    sealed.write_bytes(sealed.read_bytes()[:-10])
    assert sealed_hash(sealed) is None


def test_a_checkpoint_tells_its_stage_and_its_run(tmp_path, generator_checkpoint):
    assert held_origin(generator_checkpoint) == {"stage": "model"}
    held = torch.load(generator_checkpoint, weights_only=True)
    held["hyper_parameters"]["stage"] = "generator"
    held["callbacks"] = {"TrackingCallback": {"run_id": "abcd1234", "project": "anchor"}, "Other": {"run_id": "no"}}
    torch.save(held, generator_checkpoint)
    assert held_origin(generator_checkpoint) == {"stage": "generator", "run_id": "abcd1234", "project": "anchor"}


def test_addresses_lose_their_secrets_and_nothing_else_changes():
    config = {"datamodule": {"path": ["s3://key:secret@bucket/set?sig=1", "/data/a"]}, "n": 3, "x": None}
    assert without_secrets(config) == {"datamodule": {"path": ["s3://bucket/set", "/data/a"]}, "n": 3, "x": None}
    assert config["datamodule"]["path"][0].startswith("s3://key")


def test_the_key_is_found_where_the_client_finds_it(tmp_path, monkeypatch):
    assert base_url() == "https://api.wandb.ai"
    assert not has_key()
    (tmp_path / "no-netrc").write_text("machine board.example.org login user password 0123\n")
    assert not has_key()  # of another server
    (tmp_path / "no-settings").mkdir()
    (tmp_path / "no-settings" / "settings").write_text("[default]\nbase_url = https://board.example.org/\n")
    assert base_url() == "https://board.example.org"
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "http://me:pass@127.0.0.1:9")
    assert shown_server() == "http://127.0.0.1:9"
    assert not has_key()
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert has_key()


def test_the_key_does_not_follow_to_another_server(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "https://board.example.org")
    asked = []

    def answer(request, timeout):
        asked.append(request)
        return io.BytesIO(b"{}")

    monkeypatch.setattr("urllib.request.urlopen", answer)
    assert look_at_server() == ""
    assert asked[0].get_header("Authorization").startswith("Basic ")
    onward = HTTPRedirectHandler().redirect_request(asked[0], None, 302, "", {}, "https://other.example.org/")
    assert not onward.has_header("Authorization")


@pytest.mark.parametrize(
    ("mode", "key", "wanted", "sent", "says"),
    [
        ("", "x" * 40, "live", "live", None),
        ("online", "x" * 40, "end", "end", None),
        ("", "", "live", "never", "no wandb key was found"),
        ("", "", "never", "never", None),
        ("offline", "x" * 40, "live", "never", None),
        ("dryrun", "", "live", "never", None),
        ("disabled", "x" * 40, "live", None, "WANDB_MODE=disabled"),
    ],
)
def test_the_mode_and_the_key_decide_when_a_run_is_sent(mode, key, wanted, sent, says, tmp_path, monkeypatch, capsys):
    told = []

    class NoProcess(Feed):
        def start(self):
            self.put = lambda *message: told.append(message)

    monkeypatch.setattr("launch.tracking.logger.Feed", NoProcess)
    for name, value in (("WANDB_MODE", mode), ("WANDB_API_KEY", key)):
        if value:
            monkeypatch.setenv(name, value)
    tracker = WandbTracker(run_dir=str(tmp_path), sync=wanted)
    tracker.start({"x": 1})
    atexit.unregister(tracker.close)
    assert [message[1]["sync"] for message in told] == ([sent] if sent else [])
    said = capsys.readouterr().err
    assert said.count("\n") == int(says is not None)
    assert (says or "") in said


def test_a_feed_that_nobody_reads_drops_and_says_so_once(tmp_path, monkeypatch):
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("launch.tracking.feed.CLIENT", "sleeper")
    said = []
    feed = Feed(tmp_path / "wandb" / "tracker.log", said.append, max_bytes=1_000_000)
    feed.start()
    began = time.monotonic()
    for number in range(200):
        feed.put("metrics", number, np.zeros(12_500))  # 100 kB: 20 MB in all
    feed.put("metrics", 0, lambda: None)  # cannot be handed over
    assert time.monotonic() - began < 20
    assert feed.dropped > 150
    assert len(said) == 1
    assert "falls behind" in said[0]
    assert not feed.close("finish", 0, patience_s=0.3)
    assert len(said) == 2
    assert "did not finish" in said[1]
    feed.put("metrics", 1)  # and nothing more happens
    assert len(said) == 2


def test_a_lock_is_held_by_one_and_ends_with_its_holder(tmp_path):
    path = tmp_path / "x.lock"
    assert not is_held(path)
    with hold(path) as is_ours:
        assert is_ours
        assert is_held(path)
        with hold(path) as is_ours_too:
            assert not is_ours_too
    assert not is_held(path)


def test_only_the_own_checkpoints_go_on_with_a_run(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(WandbTracker, "start", lambda self, config: opened.append((self.run_id, config)))

    def begin(job, state=None, resume=None):
        tracker = WandbTracker(run_dir=str(tmp_path / job))
        callback = TrackingCallback(tracker, {"seed": 1})
        if state is not None:
            callback.load_state_dict(state)
        callback.on_train_start(SimpleNamespace(ckpt_path=resume, is_global_zero=False), None)
        return callback.state_dict(), tracker.is_resumed

    parent, _ = begin("parent")
    own = tmp_path / "parent" / "checkpoints" / "last.ckpt"
    assert begin("parent", parent, own) == (parent, True)
    forks = [begin(job, parent, own) for job in ("sweep/0", "sweep/1")]
    assert len({parent["run_id"], *(fork["run_id"] for fork, _ in forks)}) == 3
    assert not any(is_resumed for _, is_resumed in forks)
    assert [config for _, config in opened[2:]] == [{"seed": 1, "forked_from": parent["run_id"]}] * 2
    fork = forks[0][0]
    again, is_resumed = begin("sweep/0", fork, tmp_path / "sweep" / "0" / "checkpoints" / "top" / "step-2.ckpt")
    assert (again, is_resumed) == (fork, True)
    assert opened[-1] == (fork["run_id"], {"seed": 1, "forked_from": parent["run_id"]})


@pytest.mark.parametrize("word", ["ENOLCK", "ENOTSUP", "ENOSYS", "EINVAL"])
def test_a_file_system_without_locks_is_trusted(word, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(getattr(errno, word), "no locks")

    monkeypatch.setattr("launch.locks.fcntl.flock", refuse)
    path = tmp_path / "x.lock"
    path.touch()
    assert not is_held(path)
    with hold(path) as is_ours, claim(path, "x"):
        assert is_ours
        assert not is_held(path)


def test_a_histogram_counts_what_is_finite():
    counts, edges = histogram(torch.tensor([0.0, 1.0, 1.0, float("nan"), float("inf")]))
    assert (counts.sum(), counts[0], counts[-1]) == (3, 1, 2)
    assert (edges[0], edges[-1]) == (0, 1)
    assert histogram(torch.zeros(0))[0].sum() == 0
    assert histogram(torch.ones(5))[0].sum() == 5


def test_strip_and_clip_show_real_reference_and_output():
    def shades(value):
        return np.full((10, 96, 96, 3), value, np.uint8)

    clip = DrawnClip("k", shades(10), shades(20)[0], shades(30), np.zeros(6400, np.float32))
    strip = np.asarray(draw_strip(clip))
    assert strip.shape == (3 * 96, 64 + 8 * 96, 3)
    assert [strip[row * 96 + 5, -1, 0] for row in range(3)] == [10, 20, 30]
    frames = list(clip_frames(clip))
    assert len(frames) == 10
    assert frames[0].shape == (192, 3 * 192, 3)
    assert [frames[0][0, column * 192 + 5, 0] for column in range(3)] == [10, 20, 30]
