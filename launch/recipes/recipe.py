"""A recipe: a YAML file of inputs and steps (conf/recipe/), filled in with what the user gave.

Steps are commands as a user would type them. ``${name}`` in a word is an input; a word whose value is nothing is left
out. Words are filled in when their step is due, for some depend on what earlier steps left:

    ${batches:N}, ${quarter:N}     N training steps times ``effort``, and a quarter of that
    ${checkpoint:INPUT,RUN}        the input, or what the step RUN leaves; nothing where neither is there
    ${runs:A,B}                    the folders of those of these runs that are there
    ${repeats:OTHERS,OWN,SHARE}    how often an epoch shows the set OWN so that SHARE of the windows are its
    ${first:FOLDER}                the first video in a folder of ``out``
    ${crop:}                       side of the crops that ``base``, or ``model``, needs
    ${switch:INPUT}                on or off
    ${name_of:INPUT}               a file's name without its ending
    ${machine:}                    ``accelerator``; where it is auto and there is no card, all that the CPU can share
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from anchor.arguments import nearest
from anchor.errors import ConfigError
from launch.recipes.chain import Step
from launch.yaml_text import check_yaml

__all__ = ["Recipe", "list_recipes", "load_recipe"]

LAST = "checkpoints/last.ckpt"
PARTS = {"about", "inputs", "steps"}


class Recipe:
    """One recipe with its inputs; ``values`` are theirs, in the kinds that they ask for."""

    def __init__(self, name: str, spec: Mapping[str, Any]) -> None:
        self.name, self.spec = name, spec
        self.about: str = spec["about"]
        self.inputs: Mapping[str, Mapping[str, Any]] = spec["inputs"]
        self.values: dict[str, Any] = {}
        self.more: list[str] = []  # words that every training gets

    @property
    def out(self) -> Path:
        """Where everything goes."""
        return Path(self.fill("${out}"))

    def fill(self, text: Any) -> Any:
        """``text`` with the inputs in it; None where it is one input that was not given."""
        for name, resolver in RESOLVERS.items():
            OmegaConf.register_new_resolver(f"{name}", _bound(resolver, self), replace=True)
        try:
            return OmegaConf.create({**self.values, "_text": text})["_text"]
        except OmegaConfBaseException as error:
            cause = error.__cause__ or error
            if isinstance(cause, ConfigError):
                raise cause from None
            raise ConfigError(
                f"recipe {self.name}: {text} cannot be filled in ({str(cause).splitlines()[0]})."
            ) from error

    def steps(self) -> list[Mapping[str, Any]]:
        """Those whose conditions hold: ``when`` all these inputs are given, ``unless`` any of those is."""

        def is_wanted(step: Mapping[str, Any]) -> bool:
            given = {name for name, value in self.values.items() if value not in (None, False)}
            return given >= set(_list(step.get("when"))) and not given & set(_list(step.get("unless")))

        return [step for step in self.spec["steps"] if is_wanted(step)]

    def step(self, spec: Mapping[str, Any]) -> Step:
        """The step with its words filled in, as far as what it needs is there."""
        words = []
        for word in spec["run"]:
            key, equals, text = str(word).partition("=")
            value = self.fill(text) if equals else None
            if not equals:
                words.append(key)
            elif value is not None and str(value) != "":
                words.append(f"{key}={str(value).lower() if isinstance(value, bool) else value}")
        if words[0] == "train":
            words += self.more
        folder = spec.get("folder")
        leaves = Path(self.fill(spec["leaves"]))
        return Step(spec["name"], spec["title"], tuple(words), leaves, Path(self.fill(folder)) if folder else None)

    def has(self, run: str) -> bool:
        """Whether one of the steps is called so."""
        return any(step["name"] == run for step in self.steps())


def list_recipes() -> list[str]:
    """The recipes that come with the program."""
    folder = resources.files("anchor.conf") / "recipe"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """The recipe of that name, or in the file ``name``.

    Raises:
        ConfigError: there is none, or the file is no recipe.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ConfigError(f"recipe={name}: no such file.")
        text = Path(name).read_text(encoding="utf-8", errors="replace")
    elif name in list_recipes():
        text = (resources.files("anchor.conf") / "recipe" / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        known = list_recipes()
        raise ConfigError(
            f"recipe={name} is no choice.{nearest(name, known)} Choose one of {', '.join(known)}, or give a .yaml file."
        )
    check_yaml(text, f"recipe={name}")
    try:
        spec = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except AssertionError:  # a number, or a date: YAML, and neither a list nor an object
        spec = None
    except Exception as error:  # whatever a YAML file may hold
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"recipe={name}: no YAML ({why:.300}).") from None
    inputs = spec.get("inputs") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(inputs, dict) or "out" not in inputs or not {*spec} >= PARTS:
        raise ConfigError(
            f"recipe={name}: a recipe has about, inputs (with out) and steps; see conf/recipe/person.yaml."
        )
    for step in spec["steps"] if isinstance(spec["steps"], list) else [spec["steps"]]:
        missing = [key for key in ("name", "title", "run", "leaves") if not isinstance(step, dict) or not step.get(key)]
        if missing:
            raise ConfigError(f"recipe={name}: the step {step!s:.80} lacks {', '.join(missing)}.")
        if not isinstance(step["run"], list) or not all(isinstance(word, str) for word in step["run"]):
            raise ConfigError(f"recipe={name}: run of the step {step['name']!s:.80} is no list of words.")
    for key, about in inputs.items():
        if not isinstance(about, dict) or not {"kind", "what"} <= set(about):
            raise ConfigError(f"recipe={name}: the input {key!s:.80} lacks kind or what.")
    return Recipe(Path(name).stem, spec)  # type: ignore[arg-type]


def _batches(recipe: Recipe, count: int) -> int:
    return max(4, round(count * float(recipe.values.get("effort") or 1)))


def _quarter(recipe: Recipe, count: int) -> int:
    return max(2, _batches(recipe, count) // 4)


def _checkpoint(recipe: Recipe, given: str, run: str) -> str | None:
    if recipe.values.get(given):
        return str(recipe.values[given])
    return str(recipe.out / run / LAST) if recipe.has(run) else None


def _runs(recipe: Recipe, *names: str) -> str:
    return ",".join(str(recipe.out / name) for name in names if recipe.has(name))


def _repeats(recipe: Recipe, others: str, own: str, share: float) -> int:
    from launch.gates import read_manifest

    mine, theirs = (read_manifest(recipe.out / name)["train_s"] for name in (own, others))
    return max(1, round(theirs / max(mine, 1e-3) * share / (1 - share)))


def _first(recipe: Recipe, folder: str) -> str:
    videos = sorted((recipe.out / folder).rglob("*.mp4"))
    if not videos:
        raise ConfigError(f"{recipe.out / folder} holds no video. Delete {recipe.out}, and start again.")
    return str(videos[0])


def _crop(recipe: Recipe) -> int:
    if recipe.values.get("base"):
        from anchor.models import load_network

        return int(load_network(recipe.values["base"], "generator").image_size)  # type: ignore[arg-type]
    model = str(recipe.values["model"])
    known = _models()
    if model not in known:
        raise ConfigError(f"model={model} is no choice.{nearest(model, list(known))} Choose one of {', '.join(known)}.")
    return known[model]


def _machine(recipe: Recipe) -> str:
    asked = str(recipe.values.get("accelerator") or "auto")
    if asked != "auto":
        return asked
    from anchor.device import resolve_device

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return "auto" if resolve_device("auto").type != "cpu" else "cpu2" if cores > 1 else "cpu"


RESOLVERS = {
    "batches": _batches,
    "quarter": _quarter,
    "checkpoint": _checkpoint,
    "runs": _runs,
    "repeats": _repeats,
    "first": _first,
    "crop": _crop,
    "machine": _machine,
    "switch": lambda recipe, key: "on" if recipe.values[key] else "off",
    "name_of": lambda recipe, key: Path(str(recipe.values[key])).stem,
}


def _bound(resolver: Any, recipe: Recipe) -> Any:
    return lambda *arguments: resolver(recipe, *arguments)


def _models() -> dict[str, int]:
    """The presets and the side of their pictures."""
    folder = resources.files("anchor.conf") / "model"
    texts = {entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8") for entry in _yaml(folder)}
    sizes = {name: OmegaConf.create(text).get("image_size") for name, text in sorted(texts.items())}
    return {name: size for name, size in sizes.items() if isinstance(size, int)}


def _yaml(folder: Any) -> Iterator[Any]:
    return (entry for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _list(value: Any) -> Sequence[str]:
    return [] if value is None else [value] if isinstance(value, str) else value
