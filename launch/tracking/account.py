"""Which wandb server is meant, whether there is a key for it, and whether it answers. The key itself stays unread."""

from __future__ import annotations

import base64
import configparser
import json
import netrc
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from anchor.shards.remote import shown_url

__all__ = ["HOW_TO_LOG_IN", "base_url", "has_key", "look_at_server", "mode", "shown_server"]

PUBLIC = "https://api.wandb.ai"
HOW_TO_LOG_IN = "Log in once with `wandb login`, or set WANDB_API_KEY"
ANSWER_S = 15.0
QUESTION = {"query": "query Viewer { viewer { id } }"}


def mode() -> str:
    """``WANDB_MODE``: ``online`` where nothing is set."""
    return os.environ.get("WANDB_MODE", "online").lower()


def base_url() -> str:
    """The server that wandb's own settings name: ``WANDB_BASE_URL``, its settings file, or the public one."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url.rstrip("/")
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(folder / "settings")
        return settings.get("default", "base_url", fallback=PUBLIC).rstrip("/")
    except (OSError, configparser.Error, UnicodeDecodeError):
        return PUBLIC


def shown_server() -> str:
    """The server's address without a user and a password."""
    return shown_url(base_url())


def has_key() -> bool:
    """Whether wandb would find a key for its server."""
    return bool(_find_key()) or bool(os.environ.get("WANDB_IDENTITY_TOKEN_FILE"))


def look_at_server(patience_s: float | None = None) -> str:
    """Why nothing can be sent to the server now, or an empty text.

    The client itself would try for many minutes before it gave up; this asks once.
    """
    url, patience_s = shown_server(), patience_s or ANSWER_S
    request = urllib.request.Request(  # noqa: S310  # the user's own server
        f"{base_url()}/graphql", json.dumps(QUESTION).encode(), {"Content-Type": "application/json"}
    )
    if key := _find_key():
        word = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()
        request.add_unredirected_header("Authorization", word)  # the key is for this server alone
    try:
        with urllib.request.urlopen(request, timeout=patience_s) as answer:  # noqa: S310
            answer.read(1 << 20)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return f"{url} refuses the key (status {error.code}). {HOW_TO_LOG_IN} with a key of that server."
        return f"{url} answers with status {error.code}; it is out of order or no wandb server." * (error.code >= 500)
    except TimeoutError:
        return f"{url} does not answer within {patience_s:.0f} s."
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return ""  # the client has certificates of its own
        if isinstance(error.reason, TimeoutError):
            return f"{url} does not answer within {patience_s:.0f} s."
        return f"{url} cannot be reached ({error.reason})."
    except (OSError, ValueError) as error:
        return f"{url} cannot be reached ({error})."
    return ""


def _find_key() -> str:
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    host = urlsplit(base_url()).hostname or ""
    for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        try:
            found = netrc.netrc(str(Path(path).expanduser())).authenticators(host) if path else None
        except (OSError, netrc.NetrcParseError, RuntimeError):
            continue
        if found and found[2]:
            return found[2]
    return ""
