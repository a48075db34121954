"""Which code a run is made of: commit, and what was changed since."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["describe_git"]

TIMEOUT_S = 10


def describe_git(*folders: Path) -> dict[str, Any]:
    """``commit``, ``branch``, ``dirty``, ``patch_bytes`` (of what is not committed), ``untracked`` files and ``remote``
    of the first of ``folders`` that stands in a git repository; empty where none does. The remote comes without its
    user and password.
    """
    for folder in folders:
        commit = _git(folder, "rev-parse", "HEAD")
        if not commit:
            continue
        patch = _git(folder, "diff", "HEAD", "--no-ext-diff", "--binary")
        untracked = _git(folder, "ls-files", "--others", "--exclude-standard", "--", ":/")
        return {
            "commit": commit,
            "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
            "dirty": bool(patch),
            "patch_bytes": len(patch.encode()),
            "untracked": len(untracked.splitlines()),
            "remote": re.sub(r"(://)[^/]*@", r"\1", _git(folder, "config", "--get", "remote.origin.url")),
        }
    return {}


def _git(folder: Path, *words: str) -> str:
    """What git says, or nothing where it fails, is not there or takes long."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            timeout=TIMEOUT_S,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
