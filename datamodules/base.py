"""The datamodule that shards and rendered speakers share: loaders over a clip source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

from anchor.batch import ClipSource
from anchor.errors import ConfigError
from anchor.timing import WINDOW_FRAMES
from datamodules.chances import Disguise, NegativeMix
from datamodules.loader import WindowLoader
from datamodules.order import TrainOrder, ValidationOrder
from datamodules.quarantine import Quarantine
from datamodules.windows import WindowDataset

__all__ = ["WindowDataModule"]


def check_count(name: str, value: Any, least: int) -> None:
    """See that a setting is a whole number of at least ``least``.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"datamodule.{name}={value} is no count. Give a whole number from {least} on.")


def check_share(name: str, value: Any) -> None:
    """See that a setting is a number from 0 to 1.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigError(f"datamodule.{name}={value} is no share. Give a number from 0 to 1.")


class WindowDataModule(L.LightningDataModule):
    """Loaders of window batches over ``open_source()``; the order is the same for any number of cards and workers.

    Args:
        image_size: side of the pictures in pixels.
        window_frames: pictures of a window, as many as the expert sees at once; None is five.
        batch_size: windows in a global batch, shared by all cards, whose number divides it.
        windows_per_clip: windows of one clip in a row; above 1 they are each other's wrong answers.
        neighbours: these follow each other five frames apart, as hard to tell as wrong speech gets, instead of being
            spread over the whole clip.
        negatives_per_window: wrong speeches drawn for each training window.
        near, far, foreign: shares of wrong speech from 5 to 15 frames away, from elsewhere in the clip, from others.
        drawing: add references and each frame's own mel window; the expert needs neither.
        references: how many pictures tell how the person looks; None is what the network takes.
        candidates: frames that are drawn to choose the references from, near in pose and far in the mouth's shape.
        silence: share of the training windows that come from a pause of their clip, so that the mouth learns to close.
        augment: disguise training windows; ``mirror``, ``warp`` and ``noise`` as in ``Disguise``.
        val_windows_per_clip, val_negatives: the fixed validation windows and the wrong speeches of each.
        num_workers: loader processes per card; 0 loads in the training process.
        prefetch: batches that each loader process makes in advance.
        cache_mb: training clips that fit decoded into so many megabytes a card are decoded once and kept.
        quarantine: file that lists every window that damage changed; None only counts them.
        max_damaged: share of an epoch's windows that damage may change before the run ends; 0 allows none.
        overfit_batches: show only so many batches of training, again and again; 0 shows all.
        accept_other_data: go on from a checkpoint of other shards, at the beginning of the next epoch.
    """

    def __init__(
        self,
        *,
        image_size: int,
        window_frames: int | None = None,
        batch_size: int = 6,
        windows_per_clip: int = 1,
        neighbours: bool = False,
        negatives_per_window: int = 0,
        near: float = 0.5,
        far: float = 0.3,
        foreign: float = 0.2,
        drawing: bool = True,
        references: int | None = None,
        candidates: int = 6,
        silence: float = 0.1,
        augment: bool = True,
        mirror: float = 0.5,
        warp: float = 0.1,
        noise: float = 0.15,
        val_batch_size: int = 32,
        val_windows_per_clip: int = 8,
        val_negatives: int = 8,
        num_workers: int = 0,
        prefetch: int = 2,
        cache_mb: int = 256,
        quarantine: Path | str | None = None,
        max_damaged: float = 0.001,
        accept_other_data: bool = False,
        overfit_batches: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {
            "batch_size": batch_size, "windows_per_clip": windows_per_clip, "val_batch_size": val_batch_size,
            "val_windows_per_clip": val_windows_per_clip, "prefetch": prefetch,
            "window_frames": WINDOW_FRAMES if window_frames is None else window_frames,
            "references": 1 if references is None else references, "candidates": candidates,
        }  # fmt: skip
        more = {
            "negatives_per_window": negatives_per_window, "val_negatives": val_negatives, "num_workers": num_workers,
            "cache_mb": cache_mb, "seed": seed, "overfit_batches": overfit_batches,
        }  # fmt: skip
        for name, value in [*counts.items(), *more.items()]:
            check_count(name, value, least=int(name in counts))
        shares: dict[str, float] = {
            "near": near,
            "far": far,
            "foreign": foreign,
            "mirror": mirror,
            "silence": silence,
            "max_damaged": max_damaged,
        }
        if not isinstance(neighbours, bool):
            raise ConfigError(f"datamodule.neighbours={neighbours} is neither true nor false.")
        for name, share in shares.items():
            check_share(name, share)
        if near + far + foreign == 0:
            raise ConfigError("datamodule.near, far and foreign are all 0. Say where wrong speech comes from.")
        self.image_size, self.batch_size, self.windows_per_clip = image_size, batch_size, windows_per_clip
        self.negatives_per_window, self.seed = negatives_per_window, seed
        self.mix = NegativeMix(near=near, far=far, foreign=foreign)
        self.disguise = Disguise(mirror=mirror, warp=warp, noise=noise) if augment else None
        self.val_batch_size, self.val_windows_per_clip, self.val_negatives = (
            val_batch_size,
            val_windows_per_clip,
            val_negatives,
        )
        self.neighbours, self.window_frames = neighbours, counts["window_frames"]
        self.drawing, self.candidates, self.silence = drawing, candidates, silence
        self.references = 1 if references is None else references
        self.num_workers, self.prefetch, self.cache_mb = num_workers, prefetch, cache_mb
        self.accept_other_data, self.overfit_batches = accept_other_data, overfit_batches
        self.quarantine = Quarantine(quarantine, max_damaged)
        self.source: ClipSource | None = None
        self._train: WindowLoader | None = None
        self._place: dict[str, Any] = {}

    def open_source(self) -> ClipSource:
        """The clips; opened once, when the trainer asks for the first loader."""
        raise TypeError(f"{type(self).__name__} opens no source; use ShardDataModule or SyntheticDataModule.")

    def setup(self, stage: str | None = None) -> None:
        """Open the source and see that both splits hold clips."""
        if self.source is None:
            self.source = self.open_source()
            for split in ("train", "val"):
                if not any(clip.split == split for clip in self.source.clips):
                    raise ConfigError(
                        f"The data hold no {split} clip; `anchor preprocess` splits by speaker or by time."
                    )

    def train_dataloader(self) -> WindowLoader:
        """Every window once per epoch, in global batches that do not depend on the number of cards."""
        dataset = self._dataset("train", self.negatives_per_window, self.disguise)
        rank, world_size = self._rank_and_world()
        self.quarantine.rank = rank
        order = TrainOrder(
            dataset.clips,
            batch_size=self.batch_size,
            windows_per_clip=self.windows_per_clip,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            only=self.overfit_batches,
            frames=self.window_frames,
            neighbours=self.neighbours,
        )
        order.passes_are_whole = self.trainer is not None
        loader = self._loader(dataset, order)
        loader.is_last_unused = self._is_last_unused
        place = self._train.state_dict() if self._train is not None else self._place
        if place:  # a loader made anew goes on where the last one or the checkpoint stood
            loader.load_state_dict(place)
        self._train = loader
        return loader

    def state_dict(self) -> dict[str, Any]:
        """Where training stands. Lightning asks the loader too, but does not always give its answer back."""
        return self._train.state_dict() if self._train is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there, as soon as there is a loader."""
        self._place = state_dict

    def val_dataloader(self) -> WindowLoader:
        """The fixed validation windows."""
        dataset = self._dataset("val", self.val_negatives, None)
        rank, world_size = self._rank_and_world()
        order = ValidationOrder(
            dataset.clips,
            batch_size=self.val_batch_size,
            windows_per_clip=self.val_windows_per_clip,
            rank=rank,
            world_size=world_size,
            frames=self.window_frames,
        )
        return self._loader(dataset, order)

    def sample_dataloader(self, most: int) -> WindowLoader:
        """``most`` of the fixed validation windows or fewer, evenly spread over all clips; for a single process."""
        dataset = self._dataset("val", 0, None)
        order = ValidationOrder(
            dataset.clips,
            batch_size=min(most, self.val_batch_size),
            windows_per_clip=max(self.val_windows_per_clip, -(-most // len(dataset.clips))),
            frames=self.window_frames,
            most=most,
        )
        return self._loader(dataset, order)

    def _dataset(self, split: str, negatives: int, disguise: Disguise | None) -> WindowDataset:
        self.setup()
        assert self.source is not None
        return WindowDataset(
            self.source,
            split,
            image_size=self.image_size,
            seed=self.seed if split == "train" else 0,
            window_frames=self.window_frames,
            negatives_per_window=negatives,
            mix=self.mix,
            disguise=disguise,
            drawing=self.drawing,
            references=self.references,
            candidates=self.candidates,
            silence=self.silence,
            cache_mb=self.cache_mb // max(1, self.num_workers),
        )

    def _is_last_unused(self) -> bool:
        """Whether the trainer was stopped between taking a batch and its step."""
        if self.trainer is None:
            return False
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return progress.ready > progress.processed

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loader(self, dataset: WindowDataset, order: TrainOrder | ValidationOrder) -> WindowLoader:
        return WindowLoader(
            dataset,
            order,
            num_workers=self.num_workers,
            prefetch=self.prefetch,
            quarantine=self.quarantine,
            identity=str(getattr(self.source, "identity", "")),
            accept_other_data=self.accept_other_data,
        )
