"""Every experiment one step on a simulated card in each precision: ``python mlu_stages.py FOLDER``; prints JSON."""

import json
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from saved_networks import save_network

from anchor.models import LipGenerator, SyncNet
from launch.accelerators import resolve_machine
from launch.checkpoints.tensors import all_tensors

SMALL = [
    "accelerator=mlu_sim", "accelerator.devices=1", "datamodule.speakers=3", "datamodule.val_speakers=1",
    "datamodule.clips=1", "datamodule.seconds=1.2", "datamodule.val_windows_per_clip=2", "trainer.max_steps=1",
    "trainer.val_check_interval=1",
]  # fmt: skip


def main(folder):
    base, expert = save_network(folder / "base.ckpt", LipGenerator()), save_network(folder / "expert.ckpt", SyncNet())
    answer = {}
    for precision in ("32-true", "16-mixed", "bf16-mixed"):
        for experiment in ("syncnet", "generator", "finetune", "quality"):
            run_dir = folder / f"{experiment}-{precision}"
            words = [f"experiment={experiment}", *SMALL, f"accelerator.precision={precision}", f"run_dir={run_dir}"]
            words += [f"module.base={base}"] if experiment in ("finetune", "quality") else []
            words += [f"module.expert={expert}"] if experiment != "syncnet" else []
            words += ["datamodule.batch_size=15"] if experiment == "syncnet" else ["datamodule.batch_size=2"]
            with initialize_config_module("anchor.conf", version_base="1.3"):
                config = OmegaConf.to_container(compose("train", words), resolve=True)
            answer[f"{experiment} {precision}"] = step(config, run_dir)
    print(json.dumps(answer))


def step(config, run_dir):
    resolve_machine(config["accelerator"])  # from here on there is a card
    from launch.worker import run

    run_dir.mkdir()
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    dtypes = set()
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda part, _, output: (
            dtypes.add(f"{output.device.type} {output.dtype}") if isinstance(part, torch.nn.Conv2d) else None
        )
    )
    try:
        result = run(run_dir / "config.yaml")
    finally:
        hook.remove()
    checkpoint = torch.load(result["checkpoint"], weights_only=True)
    places = {str(tensor.device) for tensor in all_tensors(checkpoint)}
    return {"steps": result["steps"], "metrics": result["metrics"], "dtypes": sorted(dtypes), "places": sorted(places)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
