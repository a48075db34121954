"""Gates between the stages: what a network must have learnt before the next stage builds on it.

The thresholds are the configuration's ``gates`` (conf/gates). The scores of an expert are those that its checkpoint
holds; those of a base are its own on held-out windows of the data that it is to learn from (:mod:`launch.first_look`);
those of a finished person stand in its scores.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError, GateError

__all__ = ["MEANINGS", "check_networks", "judge", "load_gates", "read_manifest", "read_scores"]

# What a threshold compares: how it is made of the scores of a validation, and of a scores.json.
SOURCES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pair_accuracy": (("val/pair_accuracy",), ("expert/pair_accuracy",)),
    "gain_db": (("val/mouth_psnr", "val/copy_psnr"), ("self/mouth_psnr", "copy/mouth_psnr")),
    "jitter_ratio": (("val/jitter_ratio",), ("self/jitter_ratio",)),
    "train_s": (("train_s",), ("train_s",)),
}
MEANINGS = {
    "pair_accuracy": "true speech against shifted, chance 0.5",
    "gain_db": "dB of PSNR above copying the reference picture",
    "jitter_ratio": "how much the mouth trembles, 1 is natural",
    "train_s": "seconds of the face to learn from",
}
ADVICE = {
    "material": "Give a longer video, or see in its report.html what was left out",
    "expert": "Teach it longer, on more speech, or with offset=correct in `anchor preprocess`",
    "finetune": "Teach the base longer, or on more speakers",
    "quality": "Tune longer, on more of the person's video, or from a better base",
    "avatar": "Look at the report; teach the stages before longer, or on more of the person's video",
}
OFF = "gates=off goes on all the same, and every later report says so."


def check_networks(resolved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdicts on ``module.expert`` and ``module.base`` of a resolved configuration, their own gates' included.

    Raises:
        GateError: one has not learnt enough, and ``gates.enforce`` is true.
        CheckpointError: one cannot be read.
    """
    from anchor.models import read_held_out

    module, gates = resolved["module"], resolved["gates"]
    verdicts: list[dict[str, Any]] = []
    for key, gate in (("expert", "expert"), ("base", str(resolved["stage"]))):
        path = module.get(key)
        if path is None or gate not in gates:
            continue
        held = read_held_out(str(path))
        where = f"module.{key}={path}"
        if held is None:
            sentence = (
                f"{where} holds no scores (an import, an export, or of an older anchor), so no gate can judge it; "
                "`anchor evaluate` can."
            )
            verdicts.append(_verdict(gate, str(path), "unmeasured", sentence))
            continue
        scores = held.scores
        if key == "base":
            from launch.first_look import look_at_base

            if (seen := look_at_base(module, resolved["datamodule"])) is not None:
                scores, where = seen, f"{where}, drawing held-out windows of {_name(resolved['datamodule'])}"
        verdicts.append(judge(gate, gates, scores, where, checkpoint=str(path)))
        told = {"", *(verdict["sentence"] for verdict in verdicts)}
        verdicts += [{**one, "inherited": True} for one in held.gates if one["sentence"] not in told]
    return verdicts


def judge(
    gate: str, gates: Mapping[str, Any], scores: Mapping[str, float], where: str, checkpoint: str = ""
) -> dict[str, Any]:
    """The verdict of one gate on the ``scores`` of what stands at ``where``.

    Raises:
        GateError: it is below a threshold, and ``gates.enforce`` is true.
        ConfigError: a threshold that no score belongs to.
    """
    failures, compared = [], {}
    for name, limits in gates[gate].items():
        value = _value(name, scores)
        least, most = _limits(gate, name, limits)
        compared[name] = {"value": value, "least": least, "most": most}
        if value is None:
            failures.append(f"{name} was never measured on held-out material")
        elif not ((least is None or value >= least) and (most is None or value <= most)):
            asked = f"at least {least:g}" if least is not None and not value >= least else f"at most {most:g}"
            failures.append(f"{name} ({MEANINGS[name]}) is {value:.3f}, asked is {asked}")
    if not failures:
        return _verdict(gate, checkpoint, "passed", "", compared)
    what = "; ".join(failures)
    if gates["enforce"]:
        knob = f"gates.{gate}.{next(iter(compared))}.least= sets another threshold" if len(compared) == 1 else ""
        knob = knob or f"gates.{gate}.{{{','.join(compared)}}} hold the thresholds"
        raise GateError(f"{where}: stopped at the gate {gate!r}: {what}. {ADVICE[gate]}; {knob}; {OFF}")
    return _verdict(gate, checkpoint, "forced", f"{where} went past the gate {gate!r} by gates=off: {what}.", compared)


def load_gates(words: Mapping[str, Any], enforce: bool) -> dict[str, Any]:
    """The thresholds of conf/gates, with ``words`` (``material.train_s.least`` and the like) over them.

    Raises:
        ConfigError: a word that names no threshold.
    """
    from importlib import resources

    from omegaconf import OmegaConf

    text = (resources.files("anchor.conf") / "gates" / "on.yaml").read_text(encoding="utf-8")
    gates = OmegaConf.create(text)
    for key, value in words.items():
        name = key.removeprefix("gates.")
        if OmegaConf.select(gates, name.rpartition(".")[0] or name) is None:
            raise ConfigError(f"{key}= is unknown. Gates are {', '.join(str(k) for k in gates if k != 'enforce')}.")
        OmegaConf.update(gates, name, value)
    gates.enforce = enforce
    return OmegaConf.to_container(gates, resolve=True)  # type: ignore[return-value]


def read_scores(path: Path) -> dict[str, float]:
    """The scores of a scores.json.

    Raises:
        GateError: there is none.
    """
    from anchor.files import read_json

    record = read_json(path)
    if record is None or not isinstance(record.get("scores"), dict):
        raise GateError(f"{path}: no scores stand there. Run `anchor evaluate` first.")
    return record["scores"]


def read_manifest(path: Path) -> dict[str, float]:
    """Seconds of either split of a set of shards, as ``train_s`` and ``val_s``."""
    from anchor.shards import ShardSet
    from anchor.timing import FPS

    clips = ShardSet(path).clips
    return {
        f"{side}_s": sum(clip.num_frames for clip in clips if clip.split == side) / FPS for side in ("train", "val")
    }


def _value(name: str, scores: Mapping[str, float]) -> float | None:
    """The number that the threshold ``name`` is about; None where the scores lack it or it is no number."""
    if name not in SOURCES:
        raise ConfigError(f"gates: {name} is no score. Choose of {', '.join(SOURCES)}.")
    for names in SOURCES[name]:
        found = [scores.get(one) for one in names]
        if all(one is not None for one in found):
            value = float(found[0]) - float(found[1]) if len(found) == 2 else float(found[0])  # type: ignore[arg-type]
            return value if math.isfinite(value) else None
    return None


def _name(data: Mapping[str, Any]) -> str:
    """What the windows are of, in a sentence."""
    return f"datamodule.path={data['path']}" if data.get("path") else "the data"


def _limits(gate: str, name: str, limits: Any) -> tuple[float | None, float | None]:
    if not isinstance(limits, Mapping) or not set(limits) <= {"least", "most"}:
        raise ConfigError(
            f"gates.{gate}.{name}={limits} is no threshold. Write gates.{gate}.{name}.least=NUMBER or .most=."
        )
    for key, value in limits.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ConfigError(f"gates.{gate}.{name}.{key}={value} is no number.")
    return limits.get("least"), limits.get("most")


def _verdict(
    gate: str, checkpoint: str, outcome: str, sentence: str, compared: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "gate": gate, "checkpoint": checkpoint, "outcome": outcome, "sentence": sentence,
        "compared": dict(compared or {}), "inherited": False,
    }  # fmt: skip
