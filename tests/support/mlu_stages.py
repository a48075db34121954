"""Every experiment one step on a simulated card in each precision: ``python mlu_stages.py FOLDER``; prints JSON."""

import json
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from anchor.models import LipGenerator, SyncNet, describe
from launch.accelerators import resolve_machine

SMALL = [
    "accelerator=mlu_sim", "accelerator.devices=1", "datamodule.speakers=3", "datamodule.val_speakers=1",
    "datamodule.clips=1", "datamodule.seconds=1.2", "datamodule.val_windows_per_clip=2", "trainer.max_steps=1",
    "trainer.val_check_interval=1",
]  # fmt: skip


def save_network(path, net):
    weights = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, path)
    return path


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
    places = {str(tensor.device) for tensor in tensors(checkpoint)}
    return {"steps": result["steps"], "metrics": result["metrics"], "dtypes": sorted(dtypes), "places": sorted(places)}


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
