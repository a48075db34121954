"""The real client, offline: what stands in its file after a run, a resume, a kill."""

import signal

import av
import numpy as np
import pytest
import torch
from PIL import Image
from wandb_files import written_runs

from anchor import __version__
from anchor.media import probe
from anchor.models.seals import read_seal
from launch import stops

WORDS = ("trainer.log_every_n_steps=1", "trainer.max_steps=2", "trainer.val_check_interval=1")


def test_a_run_and_its_resume_are_one_run_in_two_parts(composed, start, tmp_path, capfd):
    words = [
        "logger=wandb",
        "logger.tags=[a,b]",
        "sweep_id=sweep7",
        "logger.gradients=true",
        "logger.gradients_every=1",
    ]
    start(composed("generator", *WORDS, *words, "logger.media_every=2"))
    said = capfd.readouterr().err
    assert "no wandb key was found, so the run is tracked offline" in said
    assert f"anchor track sync {tmp_path / 'run'}" in said
    (first,) = written_runs(tmp_path / "run")
    check_identity(first, tmp_path)
    check_numbers(first, steps=[1, 2])
    check_media(first)
    assert first.exit_code == 0
    start(composed("generator", *WORDS, *words, "trainer.max_steps=3"))
    parts = written_runs(tmp_path / "run")
    assert len(parts) == 2
    assert {part.run.run_id for part in parts} == {first.run.run_id}
    assert [part.run.resume for part in parts] == [False, True]
    check_numbers(parts[1], steps=[3])
    held = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    (state,) = [state for key, state in held.items() if "TrackingCallback" in key]
    assert state["run_id"] == first.run.run_id


def check_identity(part, tmp_path):
    run = part.run
    assert (run.project, run.run_group, run.job_type, run.display_name) == (
        "anchor", "sweep7", "generator", "generator run",
    )  # fmt: skip
    assert list(run.tags) == ["a", "b"]
    assert part.config["module"]["_target_"] == "lightning_modules.GeneratorModule"
    assert part.config["trainer"]["max_steps"] == 2
    assert part.config["run_dir"] == str(tmp_path / "run")
    assert part.config["anchor_version"] == __version__
    git = part.config["git"]
    if git:  # the tests may run from a copy without a repository
        assert run.git.commit == git["commit"]
        assert {"dirty", "patch_bytes", "branch"} <= set(git)


def check_numbers(part, steps):
    rows = [row for row in part.history if "train/l1" in row]
    assert [row["trainer/step"] for row in rows] == steps
    assert all(np.isfinite(row["train/loss"]) for row in rows)
    assert [row["trainer/step"] for row in part.history if "val/l1" in row] == steps
    histograms = [
        row
        for row in part.history
        if "gradients/net.face_decoder.stem.weight.values" in row
        or any(key.startswith("gradients/net.face_decoder") for key in row)
    ]
    assert histograms
    counts = next(value for key, value in histograms[0].items() if key.endswith(".values"))
    assert len(counts) == 64
    metrics = {metric.name or metric.glob_name: metric for metric in part.of_kind("metric")}
    assert metrics["*"].step_metric == "trainer/step"
    assert metrics["val/l1"].summary.min


def check_media(part):
    """Pictures and sound of fixed clips, at the first validation and not at the second."""
    rows = [row for row in part.history if "media/strip.filenames" in row]
    assert [row["trainer/step"] for row in rows] == [1]
    files = part.folder / "files"
    strip = np.asarray(Image.open(files / rows[0]["media/strip.filenames"][0]))
    height = strip.shape[0] // 3
    real, reference, output = (strip[row * height : (row + 1) * height, 64:].astype(int) for row in range(3))
    upper = slice(0, height // 2)
    assert np.array_equal(real[upper], output[upper])  # only the lower half is drawn
    assert not np.array_equal(real[height // 2 :], output[height // 2 :])
    assert np.array_equal(reference[:, :height], reference[:, -height:])  # one picture, again and again
    path = files / rows[0]["media/clip.videos"][0]["path"]
    video = probe(path)
    assert (video.width, video.height) == (3 * 192, 192)
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        frames = container.streams.video[0].frames
    assert frames == 30  # all 1.2 s of the clip
    assert len(sound) >= 0.95 * frames * 640
    assert np.abs(sound).max() > 0.01


def test_two_loggers_at_once_and_a_missing_package(composed, start, tmp_path, monkeypatch):
    from anchor.errors import ConfigError
    from launch.build import build_loggers

    config = composed("syncnet", "logger=csv_wandb", "logger.wandb.sync=never", "trainer.log_every_n_steps=1")
    start(config)
    assert "train/sync_loss" in (tmp_path / "run" / "csv" / "metrics.csv").read_text()
    (part,) = written_runs(tmp_path / "run")
    assert any("train/sync_loss" in row for row in part.history)
    assert not any("media/strip.filenames" in row for row in part.history)  # the expert draws nothing
    (tensorboard,) = build_loggers(composed("syncnet", "logger=tensorboard")["logger"])
    tensorboard.log_metrics({"x": 1.0}, 1)
    tensorboard.finalize("success")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    monkeypatch.setattr("lightning.pytorch.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(ConfigError, match=r"logger: a package is missing .*tensorboard"):
        build_loggers(composed("syncnet", "logger=tensorboard")["logger"])


@pytest.mark.parametrize(
    ("ending", "status"), [(SystemExit(75), 75), pytest.param(RuntimeError("failed"), 1, marks=pytest.mark.slow)]
)
def test_a_run_that_ends_early_leaves_its_numbers_its_checkpoint_and_its_status(
    ending, status, composed, start, tmp_path, monkeypatch
):
    def end(self, trainer, *_):
        if trainer.global_step == 2:
            raise ending

    monkeypatch.setattr("lightning_modules.callbacks.ProgressLines.on_train_batch_end", end)
    words = ["logger=wandb", "trainer.max_steps=9", "callbacks.last.every_n_train_steps=1"]
    with pytest.raises(type(ending)):
        start(composed("syncnet", *WORDS, *words))
    (part,) = written_runs(tmp_path / "run")
    assert part.exit_code == status
    assert [row["trainer/step"] for row in part.history if "val/sync_loss" in row] == [1]
    for alias in ("best", "last"):
        sealed = read_seal(tmp_path / "run" / "checkpoints" / f"{alias}.ckpt").sha256
        assert part.made[alias].name == f"syncnet-{sealed[:12]}"


def test_the_checkpoint_of_a_stop_is_the_one_that_the_tracker_is_told_of(composed, start, tmp_path, monkeypatch):
    told = []

    def note(feed, *message, **_):
        told.append(message)
        return True

    def stop(self, trainer, *_):
        stops.STOP.note(signal.SIGTERM)

    for name, do in {"start": lambda feed: None, "put": note, "close": note}.items():
        monkeypatch.setattr(f"launch.tracking.feed.Feed.{name}", do)
    monkeypatch.setattr("lightning_modules.callbacks.ProgressLines.on_train_batch_end", stop)
    monkeypatch.setattr(stops, "STOP", stops.Stop())
    for module in ("consensus", "checkpoints.last", "trainer", "worker"):
        monkeypatch.setattr(f"launch.{module}.STOP", stops.STOP)
    with pytest.raises(stops.FetchInterruptedError):
        start(composed("syncnet", "logger=wandb", "trainer.max_steps=9", "trainer.val_check_interval=4"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    *_, output, finish = told
    assert output[:4] == ("output", str(last), "syncnet", ["last"])
    assert output[4]["steps"] == read_seal(last).step == 1
    assert output[5] == read_seal(last).sha256
    assert finish == ("finish", 143)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("logger.sync=always", "logger.sync=always is unknown. Choose one of live, end, never"),
        ("logger.tags=a", "logger.tags=a is no list"),
        ("logger.media_every=-1", "logger.media_every=-1 is no count"),
        ("logger.patience_s=0", "logger.patience_s=0 must be a number above 0"),
        ("+logger.api_key=x", "unexpected keyword argument 'api_key'"),
    ],
)
def test_settings_that_cannot_be_are_answered(word, says, composed):
    from anchor.errors import ConfigError
    from launch.build import build_loggers

    with pytest.raises(ConfigError, match=says):
        build_loggers(composed("syncnet", "logger=wandb", word)["logger"])
