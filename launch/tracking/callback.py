"""What the tracker wants to know of a run while it trains: its identity, its lineage, its pictures, its gradients."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from anchor.errors import CheckpointError, ConfigError
from anchor.models.seals import read_seal
from anchor.shards.remote import shown_url
from launch.tracking.drawing import FixedClips
from launch.tracking.lineage import shards_artefact
from launch.tracking.logger import WandbTracker
from lightning_modules.callbacks import batches_seen

__all__ = ["TrackingCallback", "close_trackers", "closing_trackers"]

FAILED = 1  # the status of a run that ended by an exception, and
LAST_WORDS_S = 5.0  # how long its tracker may take
BINS = 64  # of a histogram, as the tracker draws them
IN_PIECES = ("FSDP", "ModelParallel", "DeepSpeed")  # strategies whose ranks can only run a network together


class TrackingCallback(Callback):
    """Feeds ``tracker``; changes nothing of training: no random number, no gradient, no module's mode.

    Args:
        config: the resolved configuration.
    """

    def __init__(self, tracker: WandbTracker, config: Mapping[str, Any]) -> None:
        self.tracker, self.config = tracker, config
        self._held: dict[str, str] = {}  # what the checkpoint gone on from says
        self._forked_from = ""
        self._clips: FixedClips | None = None
        self._validations = 0
        self._is_drawing = tracker.media_every > 0 and tracker.media_clips > 0

    def state_dict(self) -> dict[str, Any]:
        """The run's name on the board, and the name of the run that it began from, if it is a fork."""
        fork = {"forked_from": self._forked_from} if self._forked_from else {}
        return {"run_id": self.tracker.run_id, "project": self.tracker.about["project"], **fork}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep what the checkpoint says until it is known where it lies."""
        self._held = {key: str(value) for key, value in state_dict.items()}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the run, now that it is known which one, and say what it is made of."""
        self.tracker.step = lambda: batches_seen(trainer)
        self._identify(trainer.ckpt_path)
        fork = {"forked_from": self._forked_from} if self._forked_from else {}
        self.tracker.start({**without_secrets(self.config), **fork})
        if not trainer.is_global_zero:
            return
        self._guard(self._tell_inputs, trainer)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """On demand, histograms of the parameters of ``optimizer`` and their gradients."""
        every = self.tracker.gradients_every
        if every and trainer.is_global_zero and batches_seen(trainer) % every == 0:
            self._guard(self._tell_gradients, trainer, pl_module, optimizer)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the fixed clips with the weights that were validated, which may be averages; rank 0 alone does."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or not (self._is_drawing and trainer.is_global_zero):
            return
        self._validations += 1
        if (self._validations - 1) % self.tracker.media_every:
            return
        self._is_drawing = self._guard(self._tell_media, trainer, pl_module)

    def _identify(self, resume: Any) -> None:
        """Go on with the run of the checkpoint ``resume`` if it is this run's; from another's, several may begin."""
        if not self._held:
            return
        own = (self.tracker.run_dir / "checkpoints").resolve()
        if resume is not None and own in Path(resume).resolve().parents:
            self.tracker.run_id, self.tracker.is_resumed = self._held["run_id"], True
            self._forked_from = self._held.get("forked_from", "")
        else:
            self._forked_from = self._held["run_id"]

    def _tell_inputs(self, trainer: L.Trainer) -> None:
        source = getattr(trainer.datamodule, "source", None)  # type: ignore[attr-defined]
        for part in getattr(source, "sources", []):
            manifest = getattr(part, "manifest", {})
            about = {key: manifest[key] for key in ("num_clips", "num_frames", "splits") if key in manifest}
            url = getattr(getattr(part, "folder", None), "url", "")
            self.tracker.send("dataset", shards_artefact(part.identity, {**about, "path": shown_url(str(url))}))
        for key in ("base", "expert"):
            path = self.config["module"].get(key)
            if path is not None:
                about, sealed = held_origin(Path(path)), sealed_hash(Path(path))
                self.tracker.send("input", str(path), about.pop("stage"), {"role": key, **about}, sealed)

    def _tell_gradients(self, trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer) -> None:
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        shown: dict[str, Any] = {}
        for name, parameter in module.named_parameters():
            if id(parameter) in held and parameter.grad is not None:
                shown[f"gradients/{name}"] = histogram(parameter.grad)
                shown[f"parameters/{name}"] = histogram(parameter)
        self.tracker.send("histograms", batches_seen(trainer), shown)

    def _tell_media(self, trainer: L.Trainer, module: L.LightningModule) -> bool:
        """Whether there is anything to draw."""
        strategy = type(trainer.strategy).__name__
        if any(word in strategy for word in IN_PIECES):
            raise ConfigError(f"{strategy} holds the network in pieces, and one rank alone cannot draw with it")
        net: Any = module.net
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not getattr(datamodule, "drawing", False):
            return False  # the expert draws nothing
        if self._clips is None:
            tracker = self.tracker
            assert datamodule.source is not None
            self._clips = FixedClips(datamodule.source, net.image_size, tracker.media_clips, tracker.media_seconds)
        context = trainer.precision_plugin.val_step_context()
        drawn = self._clips.draw(net, module.device, context)
        self.tracker.send("media", batches_seen(trainer), [tuple(clip) for clip in drawn])
        return True

    def _guard(self, tell: Any, *values: Any) -> bool:
        """Whether ``tell`` worked; what fails for the tracker's sake must not end a run."""
        try:
            return tell(*values) is not False
        except Exception as error:
            print(
                f"anchor train: wandb tracking goes on without {tell.__name__.removeprefix('_tell_')} "
                f"({type(error).__name__}: {error}).",
                file=sys.stderr,
                flush=True,
            )
            return False


@contextlib.contextmanager
def closing_trackers(trainer: L.Trainer) -> Iterator[None]:
    """Close every tracker at the end, when the last checkpoint stands; soon, where that is an exception.

    Callbacks learn of an exception one after the other, and one of them still saves then.
    """
    try:
        yield
    except BaseException as error:
        code = getattr(error, "code", None)  # of a stop that was asked for
        try:  # the other ranks of a run that fails are being ended
            close_trackers(trainer, code if isinstance(code, int) and code else FAILED, LAST_WORDS_S)
        except Exception as failure:  # must not hide why the run ends
            print(f"anchor train: the tracker was not closed ({type(failure).__name__}: {failure}).", file=sys.stderr)
        raise
    close_trackers(trainer)


def close_trackers(trainer: L.Trainer, status: int = 0, patience_s: float | None = None) -> None:
    """Tell every tracker which checkpoints the run leaves, and close it; ``status`` 0 is a run that is done."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if not isinstance(callback, TrackingCallback):
            continue
        tracker = callback.tracker
        folder = tracker.run_dir / "checkpoints"
        about = {"run_id": tracker.run_id, "steps": batches_seen(trainer)}
        scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        for alias in ("best", "last"):
            path = folder / f"{alias}.ckpt"
            if path.is_file():
                told = {**about, **scores}
                tracker.send(
                    "output", str(path.absolute()), tracker.about["job_type"], [alias], told, sealed_hash(path)
                )
        tracker.close(status, patience_s)


def sealed_hash(path: Path) -> str | None:
    """The hash in a checkpoint's seal; None where there is none, as in an export."""
    try:
        seal = read_seal(path) if path.is_file() else None
    except (OSError, CheckpointError):
        return None
    return seal.sha256 if seal is not None else None


def held_origin(path: Path) -> dict[str, Any]:
    """Which ``stage`` left the checkpoint or the export at ``path`` and, if a tracker watched, as which ``run_id``."""
    if path.is_dir() or path.suffix == ".safetensors":
        from anchor.models.card import CARD_NAME, read_card

        card_path = (path if path.is_dir() else path.parent) / CARD_NAME
        card = read_card(card_path.read_text(encoding="utf-8"), str(card_path))
        return {"stage": card.get("stage") or "export"}
    held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    origin = {"stage": held["hyper_parameters"].get("stage") or "model"}
    for key, state in (held.get("callbacks") or {}).items():
        if TrackingCallback.__name__ in key and "run_id" in state:
            origin.update({name: str(state[name]) for name in ("run_id", "project")})
    return origin


def histogram(values: torch.Tensor) -> tuple[Any, Any]:
    """Counts (BINS,) and edges (BINS + 1,) of the finite ``values``, as numpy arrays."""
    values = values.detach().float().flatten()
    values = values[values.isfinite()]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if not high > low:
        low, high = low - 0.5, low + 0.5
    counts = torch.histc(values, BINS, low, high)
    return counts.cpu().numpy(), torch.linspace(low, high, BINS + 1).numpy()


def without_secrets(value: Any) -> Any:
    """A copy of a configuration whose addresses show no user, password or signature."""
    if isinstance(value, Mapping):
        return {str(key): without_secrets(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    return shown_url(value) if isinstance(value, str) and "://" in value else value
