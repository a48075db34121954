"""``key=value`` arguments: a function's signature is its command line.

Every command but ``train`` is a function with typed parameters; this module turns ``out=DIR speakers=8`` into its
arguments, and its docstring and signature into ``--help``. Parameters are keyword-only; where the first one is not,
its value may also stand alone: ``anchor material check DIR`` is ``anchor material check source=DIR``.

A key may be written with dots, as in a configuration: ``faces.device=cpu`` is ``faces_device=cpu``, and the name of the
command may stand before it: ``anchor preprocess preprocess.workers=2``. A key that is true or false may also be written
as a flag: ``--qualify`` is ``qualify=true``. A parameter of type ``dict[str, str]`` takes any number of keys that begin
with its name: ``actions.wave=12-15.5`` is ``actions={"wave": "12-15.5"}``.
"""

from __future__ import annotations

import csv
import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from anchor.errors import ConfigError

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
GROUPS = ("faces", "llm", "media")  # what --help writes with a dot: faces.device=, media.decoder=


def parse_arguments(function: Callable[..., Any], arguments: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments that ``arguments`` give to ``function``.

    Raises:
        ConfigError: an argument is no ``key=value``, names an unknown key, arrives twice, has the wrong type, or a
            required one is missing.
    """
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    lone = _lone_parameter(function)
    values: dict[str, Any] = {}
    shown = list(map(_shown_key, parameters))
    for argument in arguments:
        if not parameters:
            raise ConfigError(f"{argument}: this command takes no arguments.")
        if argument.startswith("--") and hints.get(argument[2:].replace("-", "_")) is bool:
            argument = f"{argument[2:].replace('-', '_')}=true"
        key, equals, text = argument.partition("=")
        if not equals:
            if lone is None or argument.startswith("-"):
                raise ConfigError(f"{argument!r} is not an argument. Write key=value; keys are {', '.join(shown)}.")
            if lone in values:
                raise ConfigError(f"{argument!r} is one too many: {lone}= is given already. Write key=value.")
            key, text = lone, argument
        name = _parameter(key, function.__name__, parameters)
        family, _, member = key.partition(".")
        if member and name is None and typing.get_origin(hints.get(family)) is dict:
            members = values.setdefault(family, {})
            if member in members:
                raise ConfigError(f"{key}= is given twice. Keep one of them.")
            members[member] = convert(key, text, typing.get_args(hints[family])[1])
            continue
        if name is not None and typing.get_origin(hints.get(name)) is dict:
            raise ConfigError(f"{key}= takes a name: write {key}.NAME=VALUE, once for each.")
        if name is None:
            stands_alone = f" Write {lone}={argument} if that is a name." if lone and "/" in key else ""
            raise ConfigError(f"{key}= is unknown.{stands_alone or nearest(key, shown)} Keys are {', '.join(shown)}.")
        if name in values:
            raise ConfigError(f"{key}= is given twice. Keep one of them.")
        values[name] = convert(key, text, hints.get(name, str))
    missing = [name for name, p in parameters.items() if p.default is p.empty and name not in values]
    if missing:
        raise ConfigError(f"{', '.join(f'{_shown_key(name)}=' for name in missing)} is required. See --help.")
    return values


def _parameter(key: str, command: str, parameters: Collection[str]) -> str | None:
    """The parameter that ``key`` names: as it is, with dots for underscores, or behind the command's name."""
    for spelling in (key, key.removeprefix(f"{command}.")):
        name = spelling.replace(".", "_")
        if name in parameters:
            return name
    return None


def _shown_key(name: str) -> str:
    """How a parameter is written: ``faces_device`` as ``faces.device``."""
    group, _, rest = name.partition("_")
    return f"{group}.{rest}" if rest and group in GROUPS else name


def convert(key: str, text: str, kind: Any) -> Any:
    """``text`` as a value of ``kind``: bool, int, float, str, Path, Literal, a union of these, or a tuple of one."""
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if type(None) in options and text.lower() in ("null", "none", ""):
            return None
        kinds = [option for option in options if option is not type(None)]
        for option in kinds[:-1]:
            try:
                return convert(key, text, option)
            except ConfigError:
                continue
        return convert(key, text, kinds[-1])
    if origin is typing.Literal:
        if text not in options:
            raise ConfigError(
                f"{key}={text} is not a choice.{nearest(text, options)} Choose one of {', '.join(options)}."
            )
        return text
    if origin is tuple:
        return tuple(convert(key, part, options[0]) for part in _items(text))
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise ConfigError(f"{key}={text} is neither true nor false.")
        return text.lower() in TRUE
    if kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if math.isnan(number):  # "nan" is not above, below or equal to any bound that it may be held against
            raise ConfigError(f"{key}={text} is not {'a whole number' if kind is int else 'a number'}.")
        return number
    if kind is Path:
        if not text:
            raise ConfigError(f"{key}= needs a path.")
        return user_path(key, text)
    return text


def user_path(key: str, text: str) -> Path:
    """The path that a user wrote for ``key``, where ``~`` and ``~NAME`` are homes.

    Raises:
        ConfigError: this machine knows no user of that name.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        owner = Path(text).parts[0]
        raise ConfigError(f"{key}={text}: this machine knows no home of {owner}. Write ./{owner} for a name.") from None


def _items(text: str) -> list[str]:
    """The parts of ``[a, b]``, ``(a, b)`` or ``a,b``; one that holds a comma stands in double quotes."""
    text = text.strip()
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    return [part.strip() for row in csv.reader([text], skipinitialspace=True) for part in row if part.strip()]


def describe_arguments(name: str, function: Callable[..., Any]) -> str:
    """The text of ``anchor NAME --help``."""
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    lone = _lone_parameter(function)
    text = (inspect.getdoc(function) or "").split("\n\nRaises:")[0]
    lines = [
        f"usage: anchor {name}{f' {lone.upper()}' if lone else ''}{' key=value ...' if parameters else ''}",
        "",
        text,
        "",
        "keys:" if parameters else "",
    ]
    kinds = {key: _kind_name(hints.get(key, str)) for key in parameters}
    width = max(map(len, kinds.values()), default=0) + 2
    for key, parameter in parameters.items():
        default = "required" if parameter.default is parameter.empty else f"default {_show(parameter.default)}"
        default += f"; may stand alone, without {key}=" if key == lone else ""
        shown = f"{key}.NAME" if typing.get_origin(hints.get(key)) is dict else _shown_key(key)
        lines.append(f"  {shown + '=':<22}{kinds[key]:<{width}}{default}")
    return "\n".join(lines).rstrip()


def _lone_parameter(function: Callable[..., Any]) -> str | None:
    """The parameter whose value needs no key: the first one, where it is not keyword-only."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first.name if first is not None and first.kind is first.POSITIONAL_OR_KEYWORD else None


def _kind_name(kind: Any) -> str:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind_name(option) for option in options if option is not type(None))
    if origin is typing.Literal:
        return "|".join(options)
    if origin is tuple:
        return f"{_kind_name(options[0])},..."
    if origin is dict:
        return _kind_name(options[1])
    return {bool: "true|false", Path: "path", str: "text"}.get(kind, getattr(kind, "__name__", str(kind)))


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return "none"
    return "none" if value is None else str(value)


def nearest(word: str, words: Sequence[str]) -> str:
    """The hint "Did you mean X?" with the word spelled most like ``word``, after a blank; empty where none is near."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""
