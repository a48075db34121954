"""The far end of the feed: a process that holds the wandb client, offline, and writes what training hands over.

``python -m launch.tracking.client FD``: messages arrive at that file descriptor until one says ``finish``, or training
is gone. What fails here is written down in ``<run_dir>/wandb/tracker.log`` and concerns nobody else.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from anchor import __version__
from launch.locks import hold
from launch.tracking.git import describe_git
from launch.tracking.lineage import Artefact, checkpoint_artefact
from launch.tracking.live import start_beside
from launch.tracking.media import DrawnClip, draw_strip, save_clip

__all__ = ["LOCK", "STEP", "main", "prepare_environment"]

STEP = "trainer/step"  # batches seen: the axis of everything
LOCK = "tracker.lock"  # in the run's wandb folder; held while a part of the run is being written
LAST_WORDS_S = 20  # after training vanished without a word, this process does so too
NICENESS = 5


def main(words: list[str]) -> int:
    """Serve one run; the status tells training whether its record is whole."""
    os.nice(NICENESS)
    environment = dict(os.environ)  # before the client leaves its own mark in it
    connection = Connection(int(words[0]), writable=False)
    try:
        opening = connection.recv()[1]
    except EOFError:
        return 0
    folder = Path(opening["run_dir"]) / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / LOCK, patience_s=LAST_WORDS_S):  # the part before may still be closing
        writer = _Writer(opening)
        if opening["sync"] == "live":
            start_beside(writer.part, "live", opening["sync_patience_s"], environment)
        status = 1
        while True:
            try:
                word, *values = connection.recv()
            except (EOFError, OSError):  # training was killed
                _leave_after(LAST_WORDS_S)
                break
            if word == "finish":
                status = values[0]
                break
            with _guarded(word):
                getattr(writer, f"write_{word}")(*values)
        writer.finish(status)
    if opening["sync"] == "end":
        start_beside(writer.part, "end", opening["sync_patience_s"], environment)
    return 0


class _Writer:
    """A run of the wandb client, and a method for each kind of message."""

    def __init__(self, opening: dict[str, Any]) -> None:
        self.uploads = opening["upload_checkpoints"]
        self.inputs: list[dict[str, Any]] = []
        config = {
            **opening["config"],
            "anchor_version": __version__,
            "git": describe_git(Path(__file__).parent, Path.cwd()),
        }
        prepare_environment(Path(opening["run_dir"]), config["git"])
        self.wandb = __import__("wandb")
        settings = self.wandb.Settings(console="off", silent=True)
        with contextlib.suppress(Exception):  # not every version can watch another process
            settings.x_stats_pid = opening["pid"]
        self.run = self.wandb.init(
            mode="offline",
            dir=opening["run_dir"],
            id=opening["run_id"],
            resume="allow" if opening["is_resumed"] else None,  # what is new may be sent again, and replaces itself
            config=config,
            settings=settings,
            **{key: opening[key] for key in ("project", "entity", "name", "group", "job_type", "tags", "notes")},
        )
        self.part = Path(self.run.dir).parent
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP)
        self.run.define_metric(opening["monitor"], step_metric=STEP, summary=opening["monitor_mode"])

    def write_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Numbers of a step."""
        self.run.log({STEP: step, **metrics})

    def write_media(self, step: int, clips: list[tuple[Any, ...]]) -> None:
        """Clips as strips and as moving pictures with sound."""
        with tempfile.TemporaryDirectory(prefix="anchor-media-") as folder:
            strips, videos = [], []
            for number, values in enumerate(clips):
                clip = DrawnClip(*values)
                strips.append(self.wandb.Image(draw_strip(clip), caption=clip.key))
                path = Path(folder) / f"{number}.mp4"
                save_clip(clip, path)
                videos.append(self.wandb.Video(str(path), caption=clip.key, format="mp4"))
            self.run.log({STEP: step, "media/strip": strips, "media/clip": videos})

    def write_histograms(self, step: int, histograms: dict[str, tuple[Any, Any]]) -> None:
        """Counts and edges by name."""
        shown = {name: self.wandb.Histogram(np_histogram=both) for name, both in histograms.items()}
        self.run.log({STEP: step, **shown})

    def write_dataset(self, artefact: Artefact) -> None:
        """A set of shards that the run reads."""
        self._use(artefact)

    def write_input(self, path: str, stage: str, about: dict[str, Any], sealed: str | None = None) -> None:
        """A checkpoint that the run starts from or is judged by."""
        self._use(checkpoint_artefact(Path(path), stage, about, sealed))

    def write_output(
        self, path: str, stage: str, aliases: list[str], about: dict[str, Any], sealed: str | None = None
    ) -> None:
        """A checkpoint that the run leaves, with what it was made of."""
        artefact = checkpoint_artefact(Path(path), stage, {**about, "inputs": self.inputs}, sealed)
        self.run.log_artifact(self._artifact(artefact), aliases=aliases)
        if self.uploads:
            whole = self.wandb.Artifact(f"{artefact.name}-file", "model-file", metadata={"sha256": artefact.sha256})
            whole.add_file(path)
            self.run.log_artifact(whole, aliases=aliases)

    def finish(self, status: int) -> None:
        """Close the run's file."""
        self.run.finish(exit_code=status)

    def _use(self, artefact: Artefact) -> None:
        self.inputs.append({"name": artefact.name, "sha256": artefact.sha256, **artefact.about})
        self.run.config.update({"inputs": self.inputs}, allow_val_change=True)
        # The public use_artifact asks the server, which is not there; this is what it does with an artefact that is
        # new to it. The server joins the two by name and digest.
        self.run._log_artifact(self._artifact(artefact), use_after_commit=True)

    def _artifact(self, artefact: Artefact) -> Any:
        metadata = {"sha256": artefact.sha256, "stage": artefact.stage, **artefact.about}
        made = self.wandb.Artifact(artefact.name, artefact.kind, metadata=metadata)
        made.add_reference(artefact.reference, name=artefact.member, checksum=False)
        return made


def prepare_environment(run_dir: Path, git: dict[str, Any]) -> None:
    """What the client reads from variables: our own look at git, and folders that stay with the run."""
    os.environ.update({"WANDB_MODE": "offline", "WANDB_DISABLE_GIT": "true", "WANDB_DISABLE_CODE": "true"})
    os.environ["WANDB_SILENT"] = "true"
    os.environ["WANDB_DATA_DIR"] = str(run_dir / "wandb" / "data")  # files to upload wait there until they are sent
    for name, key in (("WANDB_GIT_COMMIT", "commit"), ("WANDB_GIT_REMOTE_URL", "remote")):
        if git.get(key):
            os.environ[name] = git[key]
    for name in ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_RUN_GROUP", "WANDB_NAME", "WANDB_DIR"):
        os.environ.pop(name, None)  # the configuration says these


@contextlib.contextmanager
def _guarded(word: str) -> Any:
    try:
        yield
    except Exception:  # whatever a client or a file may raise: the next message may be written well
        print(f"{time.strftime('%H:%M:%S')} {word} could not be written:", file=sys.stderr)
        traceback.print_exc()


def _leave_after(seconds: float) -> None:
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
