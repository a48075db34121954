"""How well a base draws the held-out windows of the data that it is to learn from: what the gate before it reads.

What a checkpoint holds of its own validation may say little of them: that was on other people's clips, or on a mixture,
where a copied picture comes near.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from anchor.models import load_network
from anchor.timing import WINDOW_FRAMES

__all__ = ["look_at_base"]

WINDOWS = 12  # of five frames: seconds of drawing on a CPU, also in high definition


def look_at_base(module: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, float] | None:
    """``val/mouth_psnr``, ``val/copy_psnr`` and ``val/jitter_ratio`` of ``module.base``, held-out windows of ``data``.

    Twelve at most, evenly spread, on the CPU. None where ``data`` is of a kind that has no such windows.

    Raises:
        AnchorError: the checkpoint or the data cannot be read.
    """
    from launch.build import instantiate_data
    from lightning_modules.common import draw_mouths
    from lightning_modules.generator import validation_scores
    from lightning_modules.ratios import JitterRatio

    net: Any = load_network(str(module["base"]), "generator", module.get("weights", "auto")).eval()
    options = {
        **data,
        "num_workers": 0,
        "quarantine": None,
        "window_frames": data.get("window_frames") or WINDOW_FRAMES,
    }
    datamodule = instantiate_data(options, net)
    if not hasattr(datamodule, "sample_dataloader"):
        return None
    jitter, sums, count = JitterRatio(), dict[str, float](), 0
    weight_hW = torch.ones(())
    with torch.inference_mode():
        for batch in datamodule.sample_dataloader(WINDOWS):
            output, real = draw_mouths(net, batch)
            jitter.update(output, real)
            for name, value in validation_scores(output, real, batch, weight_hW, None).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(output)
            count += len(output)
    return {name: value / count for name, value in sums.items()} | {"val/jitter_ratio": float(jitter.compute())}
