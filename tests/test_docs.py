"""What the pages say can be done: commands and keys that there are, links that lead somewhere. Nothing is run."""

import functools
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from anchor.__main__ import COMMANDS
from anchor.arguments import parse_arguments
from anchor.errors import ConfigError
from launch.hints import check_names
from launch.recipes.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
STAND_IN = re.compile(r"[A-Z]|\.\.\.|[$<|*]")  # what the reader puts a value of his own in the place of
NO_VALUE = re.compile(r"not a choice|not a whole number|not a number|neither true nor false")


def commands(text):
    """The words after ``anchor`` of every command in blocks and between backticks, up to the shell's next one."""
    spans = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    for line in [*"".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines(), *spans]:
        if found := re.match(r"(?:\$ |.*&& )?(?:\w+=\S+ )*anchor (?=[a-z][\w-]*(?: |$))(.*)", line.strip()):
            yield re.split(r" (?:&&|\||;|>|2>|#)(?: |$)", found[1])[0].strip()


def problems(command):
    """What is wrong with a command."""
    words = shlex.split(command.replace("[", "").replace("]", ""))  # around what may be left out
    name = next((name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS), None)
    if name is None:
        is_noun = len(words) == 1 and any(one.startswith(f"{words[0]} ") for one in COMMANDS)
        return [] if is_noun else ["there is no such command"]
    given = [word for word in words[len(name.split()) :] if "=" in word and not word.startswith("-")]
    look = {"train": problems_of_training, "run": problems_of_recipe}.get(name)
    return look(given) if look else problems_of_keys(COMMANDS[name][0], given)


def problems_of_keys(place, words):
    function = functools.reduce(getattr, place.partition(":")[2:], import_module(place.partition(":")[0]))
    found = []
    for word in words:
        try:
            parse_arguments(function, [word])
        except ConfigError as error:
            if "is unknown" in str(error) or (NO_VALUE.search(str(error)) and not STAND_IN.search(word)):
                found.append(str(error))
    return found


def problems_of_training(words):
    found = []
    for word in words:
        key = word.partition("=")[0].lstrip("~")
        try:
            check_names([word])
        except ConfigError as error:
            found.append(str(error))
        is_own = "." not in key or key.startswith(("+", "hydra"))
        if not is_own and not any(
            f"{one}.".startswith(f"{key}.") or key.startswith(f"{one}.") for one in keys_of_conf()
        ):
            found.append(f"{key}= is no key of this configuration")
    return found


@functools.cache
def keys_of_conf():
    """Dotted, of every choice of every group."""
    held = {path: yaml.safe_load(path.read_text()) or {} for path in (ROOT / "conf").rglob("*.yaml")}
    groups = {path: path.relative_to(ROOT / "conf").parts[:-1] for path in held}
    return {".".join((*groups[path], *key)) for path, content in held.items() for key in flat(content)}


def flat(content):
    for key, value in content.items() if isinstance(content, dict) else ():
        yield (str(key),)
        yield from ((str(key), *more) for more in flat(value))


def problems_of_recipe(words):
    name = next((word.partition("=")[2] for word in words if word.startswith("recipe=")), "")
    if not name or STAND_IN.search(name) or name.endswith(".yaml"):
        return []
    known = {"recipe", *load_recipe(name).inputs}
    return [word for word in words if word.partition("=")[0] not in known and not word.startswith(("gates.", "train."))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_one(page):
    found = {command: problems(command) for command in commands(page.read_text())}
    assert {command: said for command, said in found.items() if said} == {}


def test_a_command_that_is_none_is_noticed():
    wrong = [
        "preprocess sourc=x",
        "train module.lrr=1",
        "evaluate workers=many",
        "run recipe=person film=me.mp4",
        "see x",
    ]
    assert list(commands("```bash\nX=1 anchor " + "  # so\nanchor ".join(wrong) + "\n```\n")) == wrong
    assert all(map(problems, wrong))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text()))):
        name, _, place = target.partition("#")
        if "://" in target:
            continue
        path = page.parent / name if name else page
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if place else []
        assert not place or place in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, target
