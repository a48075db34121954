"""lock.txt and lock-oldest.txt: what `make setup` and `make test-oldest` install, each file by its SHA-256."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(r"([A-Za-z0-9._-]+)==([^ ;]+)(?: ; [^\\]+)? \\")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path="lock.txt"):
    """Versions and hashes by name."""
    locked, name = {}, ""
    for line in (ROOT / path).read_text().splitlines():
        if found := LINE.fullmatch(line):
            name = normal(found[1])
            locked[name] = (found[2], [])
        else:
            found = re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", line)
            assert found, line
            locked[name][1].append(found[1])
    return locked


@pytest.mark.parametrize("which", ["", "-oldest"])
def test_every_package_is_locked_at_the_version_of_the_constraints(which):
    locked = read_lock(f"lock{which}.txt")
    text = (ROOT / f"constraints{which}.txt").read_text()
    pinned = dict(line.split("==") for line in text.split() if "==" in line)
    pinned = {normal(name): version for name, version in pinned.items()}
    assert all(hashes for _, hashes in locked.values())
    wrong = {name: version for name, (version, _) in locked.items() if pinned.get(name) != version}
    assert not wrong, f"run `make lock`: {wrong}"
    extra = {"mediapipe", "opencv-contrib-python"}  # of the extra landmarks, which no developer's machine gets
    assert not set(pinned) - set(locked) - extra, "run `make lock`"


@pytest.mark.parametrize("which", ["lock.txt", "lock-oldest.txt"])
def test_every_requirement_is_in_the_lock(which):
    text = (ROOT / "pyproject.toml").read_text()
    lists = [re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M)[1]]
    extras = re.search(r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, re.S | re.M)[1]
    lists += [line for line in extras.splitlines() if not line.startswith(("landmarks", "asr"))]
    names = {normal(name) for part in lists for name in re.findall(r'"([A-Za-z0-9._-]+)', part)} - {"virtual-anchor"}
    assert len(names) > 25
    only_dev = {"ruff", "mypy", "import-linter"} if "oldest" in which else set()
    assert not names - set(read_lock(which)) - only_dev, "run `make lock`"


@pytest.mark.parametrize("target", ["$(READY):", "$(OLDEST)/.ready:"])
def test_nothing_is_installed_that_is_not_in_the_lock(target):
    recipe = (ROOT / "Makefile").read_text().split(f"\n{target}")[1].split("\n\n")[0]
    installs = [line for line in recipe.splitlines() if "$(PIP" in line or "pip install" in line]
    assert len(installs) == 3
    for line in installs:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "-e ." in line
