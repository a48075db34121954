"""Compile the simulated card's C++ once for each torch and Python, and keep the library in the user's cache.

Imports nothing but the standard library, so that a missing compiler is named before torch is imported.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

__all__ = ["build", "why_not"]

CACHE_VARIABLE = "ANCHOR_MLU_SIM_CACHE"  # a folder; else ~/.cache/anchor/mlu_sim
SOURCES = Path(__file__).resolve().parents[2] / "csrc"
MODULE = "_MLUC"
# -O1: the kernels are torch's own, and -O2 takes longer to compile. -w: torch's headers warn.
FLAGS = ["-O1", "-g0", "-w", "-fPIC", "-shared", "-std=c++17", "-DUSE_DISTRIBUTED", "-DUSE_C10D", "-DUSE_C10D_GLOO"]
LIBRARIES = ["-lc10", "-ltorch", "-ltorch_cpu", "-ltorch_python"]
APT_LINE = "apt-get install -y g++"


def why_not() -> str | None:
    """Why the library can be neither found nor made here, as one sentence; None where it can."""
    if _torch_folder() is None:
        return "the simulated MLU needs torch, which is not installed."
    if _library().is_file():
        return None
    if _compiler() is None:
        return f"the simulated MLU is compiled once with a C++ compiler, and there is none. Run: {APT_LINE}"
    if not (_python_headers() / "Python.h").is_file():
        return (
            f"the simulated MLU is compiled against Python's headers, and {_python_headers()}/Python.h is missing. "
            f"Run: apt-get install -y python{sys.version_info[0]}.{sys.version_info[1]}-dev"
        )
    return None


def build() -> Path:
    """The compiled library; compiles it (about half a minute) where nobody has before.

    Many processes that start at once wait for the first of them.

    Raises:
        RuntimeError: it cannot be compiled; says why.
    """
    if reason := why_not():
        raise RuntimeError(reason)
    library = _library()
    if library.is_file():
        return library
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        lock = (library.parent / "lock").open("w")
    except OSError as error:
        raise RuntimeError(
            f"the simulated MLU cannot be kept in {library.parent} ({error.strerror}). Name another folder with "
            f"{CACHE_VARIABLE}=DIR."
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.is_file():
            _compile(library)
    return library


def _compile(library: Path) -> None:
    print("torch_mlu (simulated): compiling, once for this torch; about half a minute.", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [*_command(), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            log = library.parent / "build.log"
            log.write_text(f"{shlex.join(command)}\n{done.stderr}", encoding="utf-8")
            first = next((line for line in done.stderr.splitlines() if "error" in line), "no message")
            raise RuntimeError(f"the simulated MLU does not compile with this torch: {first} (all of it: {log})")
        os.replace(made, library)


def _command() -> list[str]:
    import torch

    folder, compiler = _torch_folder(), _compiler()
    assert folder is not None
    assert compiler is not None
    include = folder / "include"
    # Types pass between two pybind11 modules only where both were built alike; older torch says how it was.
    built = {name: getattr(torch._C, f"_PYBIND11_{name}", None) for name in ("COMPILER_TYPE", "STDLIB", "BUILD_ABI")}
    places = [include, include / "torch" / "csrc" / "api" / "include", _python_headers()]
    return [
        *compiler,
        *FLAGS,
        f"-DTORCH_EXTENSION_NAME={MODULE}",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
        *(f'-DPYBIND11_{name}="{value}"' for name, value in built.items() if value is not None),
        *(word for place in places for word in ("-isystem", str(place))),
        str(SOURCES / "module.cpp"),
        f"-L{folder / 'lib'}",
        *LIBRARIES,
    ]


def _library() -> Path:
    """Where the library of these sources, this torch and this Python lies."""
    home = os.environ.get(CACHE_VARIABLE) or "~/.cache/anchor/mlu_sim"
    folder = _torch_folder()
    assert folder is not None
    version = (folder / "version.py").read_text(encoding="utf-8")
    digest = hashlib.sha256()
    for part in (version, str(folder), sysconfig.get_config_var("SOABI") or sys.version, *FLAGS):
        digest.update(part.encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.read_bytes())
    shown = re.search(r"__version__ = '([^']+)'", version)
    name = f"torch{shown[1] if shown else ''}-py{sys.version_info[0]}.{sys.version_info[1]}-{digest.hexdigest()[:16]}"
    return Path(home).expanduser() / name / f"{MODULE}.so"


def _torch_folder() -> Path | None:
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def _compiler() -> list[str] | None:
    """What CXX names, else g++, else clang++."""
    if words := shlex.split(os.environ.get("CXX", "")):
        return words if shutil.which(words[0]) else None
    return next(([name] for name in ("g++", "clang++") if shutil.which(name)), None)


def _python_headers() -> Path:
    return Path(sysconfig.get_paths()["include"])
