from pathlib import Path
from typing import Literal

import pytest

from anchor.arguments import describe_arguments, parse_arguments
from anchor.errors import ConfigError


def command(
    *,
    out: Path,
    size: int = 96,
    kind: Literal["a", "b"] = "a",
    on: bool = False,
    runs: tuple[Path, ...] = (),
    face: Path | None = None,
):
    """Do something."""


def test_values_take_the_types_of_the_signature():
    values = parse_arguments(command, ["out=x/y", "size=12", "kind=b", "on=true", "runs=[p, q]", "face=null"])
    assert values == {
        "out": Path("x/y"),
        "size": 12,
        "kind": "b",
        "on": True,
        "runs": (Path("p"), Path("q")),
        "face": None,
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "out= is required"),
        (["out=x", "sise=3"], "Did you mean size?"),
        (["out=x", "size=big"], "size=big is not a whole number"),
        (["out=x", "kind=c"], "Choose one of a, b"),
        (["out=x", "on=maybe"], "neither true nor false"),
        (["out=x", "out=y"], "given twice"),
        (["out"], "Write key=value"),
    ],
)
def test_bad_arguments_are_answered_with_a_sentence(arguments, says):
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        parse_arguments(command, arguments)


def test_help_shows_every_key():
    text = describe_arguments("command", command)
    assert all(f"{key}=" in text for key in ("out", "size", "kind", "on", "runs"))


def look(source: Path, *, out: Path | None = None):
    """Look at something."""


@pytest.mark.parametrize("arguments", [["x/y"], ["source=x/y"]])
def test_a_first_parameter_that_is_not_keyword_only_needs_no_key(arguments):
    assert parse_arguments(look, [*arguments, "out=z"]) == {"source": Path("x/y"), "out": Path("z")}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["x", "y"], "'y' is one too many"),
        (["x", "source=y"], "source= is given twice"),
        (["out=z"], "source= is required"),
        (["--out", "z"], "'--out' is not an argument"),
        (["films/a=b.mp4"], "Write source=films/a=b.mp4"),
        (["x", "ot=z"], "Did you mean out?"),
    ],
)
def test_what_stands_alone_wrongly_is_answered(arguments, says):
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        parse_arguments(look, arguments)


def test_help_shows_what_may_stand_alone():
    text = describe_arguments("look", look)
    assert "usage: anchor look SOURCE key=value" in text
    assert "may stand alone" in text
    assert "usage: anchor command key=value" in describe_arguments("command", command)
