from pathlib import Path
from typing import Literal

import pytest

from anchor.arguments import describe_arguments, parse_arguments
from anchor.errors import ConfigError


def command(
    *,
    out: Path,
    size: int = 96,
    rate: float = 1.0,
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
        (["out=x", "rate=nan"], "rate=nan is not a number"),
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


def convert_videos(
    *,
    source: Path,
    faces_device: Literal["cpu", "cuda"] = "cpu",
    media_ffmpeg_args: tuple[str, ...] = (),
    image_size: int = 96,
):
    """Convert something."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["source=x", "faces.device=cuda", "media.ffmpeg_args=[-ss,1]", "image_size=12"],
        ["source=x", "faces_device=cuda", "media_ffmpeg_args=-ss, 1", "image.size=12"],
        [
            "convert_videos.source=x", "convert_videos.faces.device=cuda", "convert_videos.media.ffmpeg_args=(-ss,1)",
            "convert_videos.image_size=12",
        ],
    ],
)  # fmt: skip
def test_keys_may_have_dots_and_the_commands_name_before_them(arguments):
    assert parse_arguments(convert_videos, arguments) == {
        "source": Path("x"),
        "faces_device": "cuda",
        "media_ffmpeg_args": ("-ss", "1"),
        "image_size": 12,
    }


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[-vf,eq=brightness=0.1:contrast=2]", ("-vf", "eq=brightness=0.1:contrast=2")),
        ('[-vf, "scale=96:-2,fps=25"]', ("-vf", "scale=96:-2,fps=25")),
        ("[-filter_complex,[0:v]hflip[out]]", ("-filter_complex", "[0:v]hflip[out]")),
        ("[]", ()),
        ("", ()),
    ],
)
def test_items_of_a_list_may_hold_colons_equal_signs_and_quoted_commas(text, items):
    assert parse_arguments(convert_videos, ["source=x", f"media.ffmpeg_args={text}"])["media_ffmpeg_args"] == items


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["source=x", "faces.device=cpu", "faces_device=cpu"], "faces_device= is given twice"),
        (["source=x", "faces.devise=cpu"], "Did you mean faces.device?"),
        (["source=x", "faces.device=mlu"], "faces.device=mlu is not a choice"),
        (["source=x", "other.image_size=3"], "other.image_size= is unknown"),
    ],
)
def test_wrong_dotted_keys_are_answered(arguments, says):
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        parse_arguments(convert_videos, arguments)


def test_help_writes_the_groups_with_dots():
    text = describe_arguments("convert", convert_videos)
    assert "  faces.device= " in text
    assert "  media.ffmpeg_args= " in text
    assert "  image_size= " in text


def test_a_key_that_is_true_or_false_may_be_a_flag():
    def look(*, qualify: bool = False, dry_run: bool = False, out: str = "x") -> None: ...

    assert parse_arguments(look, ["--qualify", "--dry-run"]) == {"qualify": True, "dry_run": True}
    with pytest.raises(ConfigError, match="given twice"):
        parse_arguments(look, ["--qualify", "qualify=false"])
    with pytest.raises(ConfigError, match="Write key=value"):
        parse_arguments(look, ["--out"])


def test_the_home_of_nobody_is_refused():
    with pytest.raises(ConfigError, match=r"out=~nobody-at-all/x: this machine knows no home of ~nobody-at-all\."):
        parse_arguments(look, ["a", "out=~nobody-at-all/x"])
