"""No secret may come into a configuration: its copies lie in the run's folder, on the tracker and in sweeps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from anchor.errors import ConfigError

__all__ = ["check_secrets"]

SECRET = re.compile(r"(?i)(key|token|secret|password|passwd|credential|signature|sig|auth)$")  # how a name ends
LEAST = 8  # characters: what is shorter may stand anywhere by chance


def check_secrets(config: Any) -> None:
    """See that ``config``, which may be a list of words, holds no password, signature or secret of the environment.

    Raises:
        ConfigError: one does; says where, and not what.
    """
    held = {
        name: value for name, value in os.environ.items() if SECRET.search(name) and len(value) >= LEAST
    }  # what this machine keeps for wandb, a bucket, a language model
    for place, text in _texts(config, ""):
        for name, value in held.items():
            if value in text:
                raise ConfigError(
                    f"{place} holds the value of ${name}, and would be written into config.yaml. Leave it in the "
                    "environment: what needs it reads it there."
                )
        for url in re.findall(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s\"']+", text):
            if what := _secret_of(url):
                raise ConfigError(
                    f"{place} holds an address with {what}, and would be written into config.yaml. Put user and "
                    "password into ~/.netrc, or write $NAME in its place and set that variable."
                )


def _secret_of(url: str) -> str:
    """What is secret in an address, in words; what stands there as ``$NAME`` is not."""
    try:
        parts = urlsplit(url)
        password, query = parts.netloc.rpartition("@")[0].partition(":")[2], parse_qsl(parts.query)
    except ValueError:
        return "what cannot be read" * ("@" in url)
    if password and not re.fullmatch(r"\$\w+|\$\{\w+\}", password):
        return "a password"
    for name, value in query:
        if SECRET.search(name) and not value.startswith("$"):
            return f"a secret ({name}=)"
    return ""


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            key, equals, text = item.partition("=") if isinstance(item, str) else ("", "", "")
            yield from [(key, text)] if equals and not place else _texts(item, f"{place}[{number}]")
    elif isinstance(value, str):
        yield place or "the configuration", value
