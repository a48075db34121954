"""Who may do what: tokens with scopes, how often, and how much.

Shape of a token file, JSON: ``{"TOKEN": {"name": "studio", "scopes": ["view", "speak"], "per_minute": 60}}``.
"""

from __future__ import annotations

import hmac
import json
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

from anchor.errors import ConfigError

__all__ = ["SCOPES", "Access", "Key", "RateError", "describe_readers"]

# Watch a session; open one and let it speak; keep it as a file or send it to another server; everything, and the
# server's own state.
SCOPES = ("view", "speak", "record", "admin")
PER_MINUTE, MOST_PER_MINUTE = 120, 10**6
SHORTEST = 16  # characters of a token


class RateError(Exception):
    """Too many requests; ``retry_s`` until the next may come."""

    def __init__(self, retry_s: float) -> None:
        super().__init__(f"Too many requests. Try again in {retry_s:.0f} s.")
        self.retry_s = retry_s


@dataclass
class Key:
    """Who a token belongs to."""

    name: str
    scopes: frozenset[str]
    per_minute: int = PER_MINUTE
    _left: float = field(default=-1.0, repr=False)
    _at: float = field(default=0.0, repr=False)

    def may(self, scope: str) -> bool:
        """Whether the token is good for ``scope``."""
        return scope in self.scopes or "admin" in self.scopes

    def spend(self, now: float | None = None) -> None:
        """Count one request: a bucket that fills at ``per_minute``.

        Raises:
            RateError: it is empty.
        """
        now = time.monotonic() if now is None else now
        left = self.per_minute if self._left < 0 else self._left + (now - self._at) * self.per_minute / 60
        self._left, self._at = min(float(self.per_minute), left), now
        if self._left < 1:
            raise RateError((1 - self._left) * 60 / self.per_minute)
        self._left -= 1


class Access:
    """The tokens of a server; without any, everybody at the machine itself may do everything."""

    def __init__(self, keys: dict[str, Key] | None = None) -> None:
        self._keys = {token.encode(): key for token, key in (keys or {}).items()}
        self._anybody = Key("anybody", frozenset(SCOPES), per_minute=6000)

    @property
    def is_open(self) -> bool:
        """Whether no token is asked for."""
        return not self._keys

    def find(self, token: str) -> Key | None:
        """Whose token it is; None where it is nobody's. Every token is compared, in constant time."""
        if self.is_open:
            return self._anybody
        found = None
        for known, key in self._keys.items():
            if hmac.compare_digest(known, token.encode(errors="replace")):
                found = key
        return found

    @classmethod
    def read(cls, path: Path) -> Access:
        """The tokens in a JSON file.

        Raises:
            ConfigError: it cannot be read, or says something else.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"tokens={path} cannot be read: {error}.") from None
        if not isinstance(content, dict) or not content:
            raise ConfigError(f'tokens={path}: write {{"TOKEN": {{"name": "studio", "scopes": ["view", "speak"]}}}}.')
        keys = {}
        for token, about in content.items():
            if len(token) < SHORTEST:
                raise ConfigError(f"tokens={path}: a token has {len(token)} characters; take {SHORTEST} or more.")
            scopes = about.get("scopes", []) if isinstance(about, dict) else []
            if not isinstance(scopes, list):
                raise ConfigError(f'tokens={path}: scopes are a list, such as ["view"]; {scopes!r:.40} arrived.')
            unknown = [str(scope) for scope in scopes if scope not in SCOPES]
            if not scopes or unknown:
                arrived = str(unknown or scopes)[:80]
                raise ConfigError(f"tokens={path}: scopes are {', '.join(SCOPES)}; {arrived} arrived.")
            per_minute = about.get("per_minute", PER_MINUTE)
            if (
                isinstance(per_minute, bool)
                or not isinstance(per_minute, int)
                or not 1 <= per_minute <= MOST_PER_MINUTE
            ):
                raise ConfigError(
                    f"tokens={path}: per_minute={per_minute!r:.40} must be a whole number from 1 to {MOST_PER_MINUTE}."
                )
            keys[token] = Key(str(about.get("name") or "unnamed"), frozenset(scopes), per_minute)  # none would own all
        return cls(keys)


def describe_readers(path: Path) -> str | None:
    """Who else may read or change the token file at ``path``, as a sentence; None where its owner alone may."""
    mode = stat.S_IMODE(path.stat().st_mode)
    may = {"read": 0o004, "change": 0o022}
    found = " and ".join(word for word, bits in may.items() if mode & bits)
    if not found:
        return None
    return f"tokens={path} has mode {mode:04o}: other users of this machine may {found} it. Run `chmod 600 {path}`."
