"""``logger=wandb``: a Lightning logger that hands everything to a process of its own and never makes training wait."""

from __future__ import annotations

import atexit
import os
import secrets
import string
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from anchor.errors import ConfigError
from launch.tracking.account import HOW_TO_LOG_IN, has_key, look_at_server, mode
from launch.tracking.feed import Feed

__all__ = ["SYNCS", "WandbTracker"]

SYNCS = ("live", "end", "never")
ANSWER_S = 2.0  # that a server has for its answer when the run ends; in its beginning nobody waits
ID_CHARACTERS = string.ascii_lowercase + string.digits


class WandbTracker(Logger):
    """A wandb run, written offline into ``<run_dir>/wandb`` and sent by a second process, or later.

    Args:
        run_dir: the run's folder.
        project, entity: where it stands on the board; entity None is the user's own.
        name: None is the stage and the run's folder.
        group: what runs belong together, such as a sweep.
        job_type: the stage.
        tags, notes: the user's words.
        monitor, monitor_mode: the metric whose best value the board shows.
        sync: ``live`` sends while the run goes on, ``end`` after it, ``never`` leaves it to `anchor track sync`.
        media_every: draw validation clips at every so many validations; 0 draws none.
        media_clips, media_seconds: how many clips, and how long each.
        gradients: histograms of gradients and parameters.
        gradients_every: in batches.
        upload_checkpoints: send the files too; otherwise their hashes and paths stand for them.
        patience_s: how long the end of a run may wait for the tracker, in seconds.
        sync_patience_s: how long the process that sends may outlive the run.
    """

    def __init__(
        self,
        *,
        run_dir: str,
        project: str = "anchor",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str = "train",
        tags: Sequence[str] = (),
        notes: str | None = None,
        monitor: str = "val/loss",
        monitor_mode: str = "min",
        sync: str = "live",
        media_every: int = 1,
        media_clips: int = 2,
        media_seconds: float = 2.0,
        gradients: bool = False,
        gradients_every: int = 100,
        upload_checkpoints: bool = False,
        patience_s: float = 30.0,
        sync_patience_s: float = 900.0,
    ) -> None:
        super().__init__()
        if sync not in SYNCS:
            raise ConfigError(f"logger.sync={sync} is unknown. Choose one of {', '.join(SYNCS)}.")
        for key, value in {"media_every": media_every, "media_clips": media_clips}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(f"logger.{key}={value} is no count. Give a whole number from 0 on.")
        for key, number in {
            "media_seconds": media_seconds, "gradients_every": gradients_every, "patience_s": patience_s,
            "sync_patience_s": sync_patience_s,
        }.items():  # fmt: skip
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
                raise ConfigError(f"logger.{key}={number} must be a number above 0.")
        if isinstance(tags, str):
            raise ConfigError(f"logger.tags={tags} is no list. Write logger.tags=[{tags}].")
        self.run_dir, self.sync, self.patience_s = Path(run_dir), sync, float(patience_s)
        self.about: dict[str, Any] = {
            "project": project, "entity": entity, "name": name or f"{job_type} {self.run_dir.name}", "group": group,
            "job_type": job_type, "tags": [str(tag) for tag in tags], "notes": notes, "monitor": monitor,
            "monitor_mode": monitor_mode, "upload_checkpoints": upload_checkpoints,
            "sync_patience_s": float(sync_patience_s),
        }  # fmt: skip
        self.media_every, self.media_clips, self.media_seconds = media_every, media_clips, float(media_seconds)
        self.gradients_every = int(gradients_every) if gradients else 0
        self.run_id, self.is_resumed = new_run_id(), False
        self.step: Callable[[], int] | None = None  # batches seen; Lightning's own number counts differently by stage
        self._feed: Feed | None = None
        self._is_closed = self._lacks_key = self._is_told = False

    @property
    def name(self) -> str:
        """The project."""
        return str(self.about["project"])

    @property
    def version(self) -> str:
        """The run's id, which a resumed run keeps."""
        return self.run_id

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.run_dir)

    @rank_zero_only
    def start(self, config: Mapping[str, Any]) -> None:
        """Start the tracker's process for the run that ``config`` describes, once."""
        if self._feed is not None or self._is_closed:
            return
        if mode() == "disabled":
            self._say(f"wandb tracking is off: WANDB_MODE={mode()}.")
            self._is_closed = True
            return
        if mode() in ("offline", "dryrun"):
            self.sync = "never"
        elif self.sync != "never" and not has_key():
            self.sync, self._lacks_key = "never", True
            self._say(
                f"no wandb key was found, so the run is tracked offline. {HOW_TO_LOG_IN}, then send it with "
                f"`anchor track sync {self.run_dir}`."
            )
        self._feed = Feed(self.run_dir / "wandb" / "tracker.log", self._say)
        self._feed.start()
        opening = {
            **self.about, "run_dir": str(self.run_dir.absolute()), "run_id": self.run_id, "config": dict(config),
            "pid": os.getpid(), "sync": self.sync,
            "is_resumed": self.is_resumed,
        }  # fmt: skip
        self._feed.put("open", opening)
        atexit.register(self.close, 1)
        if self.sync != "never":
            self._look_at_server()

    def send(self, word: str, *values: Any) -> None:
        """Hand a message to the tracker's process; silently nothing before it is started, and on other ranks."""
        if self._feed is not None and not self._is_closed:
            self._feed.put(word, *values)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers at the present step."""
        position = self.step() if self.step is not None else step or 0
        self.send("metrics", position, {key: float(value) for key, value in metrics.items()})

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The whole configuration is there already."""

    @rank_zero_only
    def close(self, status: int = 0, patience_s: float | None = None) -> None:
        """Close the record of the run; waits no longer than ``patience_s``, and for no server."""
        if self._is_closed or self._feed is None:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        looking = self._look_at_server(ANSWER_S) if self.sync != "never" else None
        if not self._feed.close("finish", status, patience_s=patience_s or self.patience_s):
            return
        if looking is not None:
            looking.join(ANSWER_S)  # begun before the file was closed, which takes about as long
        if self.sync == "never" and not self._lacks_key:  # without a key, the start of the run said it
            self._say(f"tracked offline; `anchor track sync {self.run_dir}` sends it.")

    def _look_at_server(self, patience_s: float | None = None) -> threading.Thread:
        """Ask the server beside the run whether it takes anything, and say so once where it does not."""

        def look() -> None:
            trouble = "" if self._is_told else look_at_server(patience_s)
            if trouble and not self._is_told:
                self._is_told = True
                self._say(
                    f"{trouble} The run is tracked offline, and sent once the server answers; what was not sent when "
                    f"the run has ended goes with `anchor track sync {self.run_dir}`."
                )

        thread = threading.Thread(target=look, name="tracking-server", daemon=True)
        thread.start()
        return thread

    def _say(self, sentence: str) -> None:
        print(f"anchor train: {sentence}", file=sys.stderr, flush=True)


def new_run_id() -> str:
    """Eight characters that no other run has; drawn by the system, so no seed is used up."""
    return "".join(secrets.choice(ID_CHARACTERS) for _ in range(8))
