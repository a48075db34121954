"""`anchor track sync`: in order, once, in bounded time, with a sentence for whatever is in its way."""

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from wandb_files import written_runs
from wandb_server import WandbStandIn, closed_port, silent_server

from anchor.__main__ import main
from anchor.models.seals import read_seal
from anchor.ops.mel import log_mel, mel_config_hash
from anchor.shards import ShardSet, ShardSetWriter, encode_clip
from launch.locks import hold
from launch.tracking.sync import SENT, find_parts


def make_part(run_dir, started="20260101_000000", run_id="abcd1234"):
    """A folder like the client's, with a file that holds nothing."""
    folder = run_dir / "wandb" / f"offline-run-{started}-{run_id}"
    folder.mkdir(parents=True)
    (folder / f"run-{run_id}.wandb").write_bytes(b"")
    return folder


def sync(capsys, *words):
    status = main(["track", "sync", *map(str, words)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out + said.err


def test_what_is_in_the_way_is_one_sentence(tmp_path, capsys, monkeypatch):
    runs = tmp_path / "runs"
    assert sync(capsys, runs) == (
        2,
        f"anchor track sync: {runs}: no such folder. Give a run's folder: anchor track sync RUN_DIR.\n",
    )
    runs.mkdir()
    status, said = sync(capsys, runs)
    assert (status, "no run below it was tracked" in said) == (2, True)
    part = make_part(runs / "a")
    status, said = sync(capsys, runs)
    assert (status, "there is no wandb key for https://api.wandb.ai. Log in once with `wandb login`" in said) == (
        2,
        True,
    )
    monkeypatch.setenv("WANDB_API_KEY", "local-" + "5ecr3t" * 8)
    monkeypatch.setenv("WANDB_BASE_URL", closed_port())
    status, said = sync(capsys, runs)
    assert (status, "cannot be reached" in said, "Nothing was sent or lost" in said) == (2, True, True)
    with silent_server() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setattr("launch.tracking.account.ANSWER_S", 0.5)
        status, said = sync(capsys, runs)
        assert (status, "does not answer within" in said) == (2, True)
    with WandbStandIn() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        status, said = sync(capsys, runs)
        assert (status, "refuses the key (status 401)" in said) == (2, True)
        assert "5ecr3t" not in said
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        with hold(part.parent / "tracker.lock"):
            status, said = sync(capsys, runs)
            assert (status, "is still running" in said) == (0, True)
        with hold(part.parent / "sync.lock"):
            status, said = sync(capsys, runs)
            assert (status, "is being sent by another process" in said) == (0, True)
            monkeypatch.chdir(part)
            assert "is being sent by another process" in sync(capsys, ".")[1]
    (part / SENT).write_text("")
    status, said = sync(capsys, runs)
    assert (status, "nothing to send; all 1 parts" in said) == (0, True)


def test_parts_come_in_the_order_of_their_starts_whatever_their_names(tmp_path):
    for started, name in (("20260102_000000", "b"), ("20260101_235959", "z"), ("20260103_000000", "a")):
        make_part(tmp_path / name, started, name * 8)
    assert [part.run_id[0] for part in find_parts(tmp_path)] == ["z", "b", "a"]
    one = next((tmp_path / "a" / "wandb").iterdir())
    assert [part.folder for part in find_parts(one)] == [one]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "set"
    out.mkdir()
    writer = ShardSetWriter(out, 32, mel_config_hash(), max_shard_bytes=10_000_000)
    for number in range(3):
        rng = np.random.default_rng(number)
        samples = rng.normal(0, 0.1, 25_600).astype(np.float32)
        frames = list(rng.integers(0, 256, (40, 32, 32, 3), np.uint8))
        members = encode_clip(frames, log_mel(samples), samples, {"key": f"c{number}"})
        split = "val" if number == 2 else "train"
        writer.add(members, key=f"c{number}", speaker=f"s{number}", split=split, num_frames=40)
    writer.close()
    return out


@pytest.mark.slow
def test_the_lineage_from_shards_to_person_arrives_in_order_and_once(start, shards, tmp_path, monkeypatch, capsys):
    paths = {stage: tmp_path / "runs" / stage for stage in ("syncnet", "generator", "finetune", "quality")}
    last = {stage: path / "checkpoints" / "last.ckpt" for stage, path in paths.items()}
    words = ["logger=wandb", "datamodule=shards", f"datamodule.path={shards}", "trainer.log_every_n_steps=1"]
    words += ["datamodule.batch_size=6", "accelerator=cpu", "trainer.max_steps=1", "trainer.val_check_interval=1"]
    words += ["logger.media_seconds=0.4"]

    def train(stage, *more, **networks):
        chosen = [f"module.{key}={path}" for key, path in networks.items()]
        with initialize_config_module("anchor.conf", version_base="1.3"):
            config = compose("train", [f"experiment={stage}", f"run_dir={paths[stage]}", *words, *more, *chosen])
        start(OmegaConf.to_container(config, resolve=True))

    train("syncnet", "datamodule.windows_per_clip=3")
    train("syncnet", "datamodule.windows_per_clip=3", "trainer.max_steps=2")
    train("generator", expert=last["syncnet"])
    train("finetune", base=last["generator"])
    by_hand = ["logger.gradients=true", "logger.gradients_every=1"]
    train("quality", "logger.upload_checkpoints=true", *by_hand, base=last["finetune"], expert=last["syncnet"])
    check_lineage(paths, last, shards)
    with WandbStandIn() as server:
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        server.faults.add("die")
        assert sync(capsys, tmp_path / "runs")[0] == 2
        server.faults.clear()
        server.last = len(server.requests) + 8  # it dies in the middle of the first part
        status, said = sync(capsys, tmp_path / "runs", "timeout=6")
        assert (status, "in time" in said or "could not be sent" in said) == (2, True)
        assert not list((tmp_path / "runs").rglob(SENT))
        server.last = None
        server.faults.clear()
        status, said = sync(capsys, tmp_path / "runs", "timeout=120")
        assert (status, said.count("sent ")) == (0, 5), said
        check_arrival(server, paths, last, shards)
        count = len(server.requests)
        assert "nothing to send" in sync(capsys, tmp_path / "runs")[1]
        assert len(server.requests) == count


def artefact(stage, path):
    return f"{stage}-{read_seal(path).sha256[:12]}"


def check_lineage(paths, last, shards):
    """What stands in the files: each stage uses what the one before it left, under the same name and digest."""
    identity = ShardSet(shards).identity
    parts = {stage: written_runs(path)[-1] for stage, path in paths.items()}
    for part in parts.values():
        assert f"shards-{identity[:12]}" in part.used
    for user, maker in (
        ("generator", "syncnet"),
        ("finetune", "generator"),
        ("quality", "finetune"),
        ("quality", "syncnet"),
    ):
        name = artefact(maker, last[maker])
        made, used = parts[maker].made["last"], parts[user].used[name]
        assert made.name == name
        assert made.digest == used.digest
        told = next(item for item in parts[user].config["inputs"] if item["name"] == name)
        assert told["run_id"] == parts[maker].run.run_id
        assert told["path"] == str(last[maker])
    assert {part.type for part in parts["quality"].used.values()} == {"dataset", "model"}
    (contents,) = parts["finetune"].made["last"].manifest.contents
    assert contents.ref == f"sha256://{read_seal(last['finetune']).sha256}"
    shown = {key.split(".")[0] for row in parts["quality"].history for key in row if key.startswith("gradients/")}
    assert shown == {"gradients/net", "gradients/discriminator", "gradients/mouth_discriminator"}
    whole = next(it for it in parts["quality"].of_kind("artifact") if it.name.endswith("-file"))
    assert whole.manifest.contents[0].size in {path.stat().st_size for path in last["quality"].parent.glob("*.ckpt")}


def check_arrival(server, paths, last, shards):
    parts = {stage: written_runs(path) for stage, path in paths.items()}
    assert set(server.runs) == {both[0].run.run_id for both in parts.values()}
    expert = server.runs[parts["syncnet"][0].run.run_id]
    assert [row["trainer/step"] for row in expert["history"].values() if "train/sync_loss" in row] == [1, 2]
    assert expert["about"]["jobType"] == "syncnet"
    generator = server.runs[parts["generator"][0].run.run_id]
    assert artefact("syncnet", last["syncnet"]) in generator["used"]
    assert artefact("generator", last["generator"]) in generator["made"]
    assert any(name.endswith(".mp4") for name in generator["files"])
    quality = server.runs[parts["quality"][0].run.run_id]
    assert artefact("finetune", last["finetune"]) in quality["used"]
