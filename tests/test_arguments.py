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
