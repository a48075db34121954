"""`anchor check model=NAME`: every network of a preset, part by part."""

from __future__ import annotations

import difflib
from importlib.resources import files
from typing import Any

from anchor.errors import ConfigError

__all__ = ["build_preset", "check_preset", "list_presets", "print_sizes"]

KINDS = ("generator", "expert", "discriminator")


def list_presets() -> list[str]:
    """The names that ``model=`` takes."""
    folder = files("anchor.conf") / "model"
    return sorted(item.name[: -len(".yaml")] for item in folder.iterdir() if item.name.endswith(".yaml"))


def check_preset(name: str) -> None:
    """See that there is a ``model=name``.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    if name not in list_presets():
        near = difflib.get_close_matches(name, list_presets(), n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"model={name} is unknown.{hint} Choose one of {', '.join(list_presets())}.")


def build_preset(name: str) -> dict[str, Any]:
    """The networks of ``model=name`` by their kind, and ``image_size``.

    Raises:
        ConfigError: there is no such preset; names the nearest.
    """
    check_preset(name)
    from hydra import compose, initialize_config_module
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from launch.targets import check_targets

    with initialize_config_module("anchor.conf", version_base="1.3"):
        config = compose("train", ["experiment=generator", f"model={name}"])
    preset: Any = OmegaConf.to_container(OmegaConf.create({"model": config.model}), resolve=True)
    check_targets(preset)
    networks = {kind: instantiate(preset["model"][kind], _convert_="all") for kind in KINDS if kind in preset["model"]}
    return {**networks, "image_size": preset["model"]["image_size"]}


def print_sizes(name: str) -> None:
    """Print the table of ``model=name``."""
    from anchor.models.sizes import UNITS, model_sizes

    preset = build_preset(name)
    print(f"model={name}, faces of {preset['image_size']} px\n")
    print(f"{'network':<40}{'parameters':>12}{'GFLOP':>10}  {'for one':<9}{'MB on disk':>11}")
    for kind in (kind for kind in KINDS if kind in preset):
        whole, *parts = model_sizes(preset[kind], preset["image_size"])
        rows = [(f"{kind} ({type(preset[kind]).__name__})", whole)]
        rows += [(f"  {part.name}", part) for part in parts if len(parts) > 1]
        for label, part in rows:
            counted = f"{part.parameters / 1e6:.3f} M"
            print(f"{label:<40}{counted:>12}{part.gflop:>10.3f}  {UNITS[kind]:<9}{part.disk_bytes / 1e6:>11.2f}")
    print(
        "\nGFLOP: multiplications and additions of convolutions and matrix products (a multiply-add is 2), one forward "
        "pass.\nA window is five frames with their speech. MB: float32 weights and statistics."
    )
