"""The command `anchor run`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError, GateError
from anchor.files import read_json
from launch.confidential import check_secrets
from launch.gates import judge, load_gates, read_manifest, read_scores
from launch.recipes.chain import Chain, Step, StepError
from launch.recipes.inputs import describe_inputs, paths_of, read_inputs
from launch.recipes.recipe import Recipe, list_recipes, load_recipe

__all__ = ["run", "run_recipe"]

USAGE = """usage: anchor run recipe=NAME key=value ...      anchor run recipe=NAME --help

Runs the commands of a recipe one after the other, prints each, and goes on where it stopped when it is given again;
what depends on a changed input is made anew. A gate that holds ends it with status 3 and says which number was asked.

recipes:
{recipes}"""


def run(arguments: Sequence[str]) -> int:
    """Run a recipe; the status of the step that ended it, 0 where all are done."""
    wants_help = any(word in ("-h", "--help") for word in arguments)
    words = [word for word in arguments if word not in ("-h", "--help")]
    chosen = [word for word in words if word.startswith("recipe=")]
    if not chosen and (wants_help or not words):
        print(USAGE.format(recipes="\n".join(f"  {name:<10}{_first_line(name)}" for name in list_recipes())))
        return 0
    if len(chosen) != 1:
        raise ConfigError(f"recipe= must be given once: {', '.join(list_recipes())}, or a .yaml file.")
    check_secrets(words)
    recipe = load_recipe(chosen[0].partition("=")[2])
    if wants_help:
        print(describe_inputs(recipe))
        return 0
    try:
        run_recipe(recipe, [word for word in words if word not in chosen])
    except StepError as error:
        print(f"\nanchor run: {error}", file=sys.stderr)
        return error.status
    return 0


def run_recipe(recipe: Recipe, words: Sequence[str]) -> None:
    """Give ``words`` to ``recipe``, and run what is not done of it.

    Raises:
        AnchorError: an input that cannot be, or a gate that holds.
        StepError: a step failed; it has said why.
        KeyboardInterrupt: stopped; names the step.
    """
    gates = load_gates(read_inputs(recipe, words), enforce=bool(recipe.values.get("gates", True)))
    out = recipe.out
    out.mkdir(parents=True, exist_ok=True)
    specs = recipe.steps()
    with Chain.opened(out, paths_of(recipe)) as chain:
        _announce(recipe, chain, specs)
        for number, spec in enumerate(specs, 1):
            step = recipe.step(spec)
            print(
                f"\n[{number}/{len(specs)}] {step.title}  ({chain.seconds():.0f} s so far)\n$ {step.command}",
                flush=True,
            )
            try:
                if not chain.run(step):
                    print("  done before", flush=True)
            except KeyboardInterrupt as stop:
                raise type(stop)(f"in {step.title!r}; the same command goes on from there") from None
            if "gate" in spec:
                _ask(recipe, spec["gate"], gates, chain, step)
        _sum_up(recipe, chain, specs)


def _announce(recipe: Recipe, chain: Chain, specs: Sequence[Mapping[str, Any]]) -> None:
    """What is to come, and about how long it takes."""
    left = [spec for spec in specs if not chain.record.get(spec["name"], {}).get("done")]
    effort = float(recipe.values.get("effort") or 1)
    minutes = sum(spec.get("minutes", 0) * (effort if spec["run"][0] == "train" else 1) for spec in left)
    print(f"recipe {recipe.name} in {recipe.out}: {len(specs)} steps, {len(specs) - len(left)} of them done")
    if minutes:
        print(f"about {max(1, round(minutes))} minutes on two idle cores; cards are quicker", flush=True)


def _ask(recipe: Recipe, spec: Mapping[str, str], gates: Mapping[str, Any], chain: Chain, step: Step) -> None:
    """Judge what a step left."""
    path = Path(recipe.fill(spec["of"]))
    scores = read_scores(path) if path.suffix == ".json" else read_manifest(path)
    try:
        verdict = judge(spec["name"], gates, scores, str(path), checkpoint=str(path))
    except GateError as error:
        raise GateError(f"after {step.title!r}: {error} The same command goes on from here.") from None
    if verdict["outcome"] == "forced":
        print(f"  {verdict['sentence']}", flush=True)
    else:
        values = ", ".join(f"{name} {one['value']:.3g}" for name, one in verdict["compared"].items())
        print(f"  gate {spec['name']!r} passed: {values}", flush=True)
    chain.note(step, [verdict])


def _sum_up(recipe: Recipe, chain: Chain, specs: Sequence[Mapping[str, Any]]) -> None:
    """Times, scores and files."""
    print("\nsteps, and the seconds that each took:")
    forced = []
    for spec in specs:
        record = chain.record[spec["name"]]
        print(f"  {record['title']:<40}{record['seconds']:>8.0f}")
        forced += [gate["sentence"] for gate in record.get("gates", []) if gate["outcome"] == "forced"]
        result = read_json(Path(recipe.fill("${out}")) / spec["name"] / "result.json") or {}
        forced += [gate["sentence"] for gate in result.get("gates", []) if gate["outcome"] == "forced"]
    print(f"  {'this start':<40}{chain.seconds():>8.0f}")
    summary = recipe.spec.get("summary", {})
    record = read_json(Path(recipe.fill(summary["scores"]))) if "scores" in summary else None
    rows = (
        [(name, record["scores"][name]) for name in summary.get("rows", []) if name in record["scores"]]
        if record
        else []
    )
    if rows:
        print("\nscores on what was held out:")
        for name, value in rows:
            print(f"  {name:<40}{value:>8.3f}")
    for sentence in dict.fromkeys(forced):
        print(f"\n  {sentence}")
    print(
        "\n" + "\n".join(f"  {path}" for path in map(recipe.fill, summary.get("files", [])) if Path(path).exists()),
        flush=True,
    )


def _first_line(name: str) -> str:
    return load_recipe(name).about.strip().partition("\n")[0]
