# make demo [QUICK=1] | make demo VIDEO=me.mp4 [SPEECH=voice.wav] | make test | make test-slow | make check | make test-oldest | make soak
# The first call creates .venv and installs pinned packages; later calls need no network.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
APT_LINE := apt-get install -y python3-venv libgl1 libglib2.0-0 libxcb1
# Two cores: threads that wait must not spin against the other process.
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test test-slow test-oldest fuzz check soak lock clean-demo

setup: $(READY)

$(READY): pyproject.toml lock.txt
	@test -n "$(PYTHON)" || { echo "anchor needs Python 3.11 or later and make. Run: apt-get install -y python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: the pinned packages need Python 3.11 or later; give another with make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing. Run: $(APT_LINE)"; exit 1; }
	@echo "make: installing pinned packages into $(VENV) (several GB, a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^setuptools==/,/[^\\]$$/p' lock.txt > $(VENV)/build.txt  # what builds comes first, by its hash too
	@$(PIP) --require-hashes --no-deps -r $(VENV)/build.txt
	@$(PIP) --require-hashes --no-deps --no-build-isolation -r lock.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV lacks a system library. Run: $(APT_LINE)"; exit 1; }
	@touch $@

demo: $(READY)
	@$(BIN)/python -m launch.demo $(if $(VIDEO),"video=$(VIDEO)") $(if $(SPEECH),"speech=$(SPEECH)") $(if $(OUT),"out=$(OUT)") $(if $(QUICK),quick=true)

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --durations=10

# Slow tests, two files of them side by side, the longest first (tests/conftest.py). After them, one by one, what minds
# the load of the machine: clocks of sessions, and ranks that are watched.
ALONE := tests/faults tests/serving tests/launch/mlu/test_serving_on_a_card.py
SLOW := $(BIN)/python -m pytest -m slow --durations=10 -o addopts="-q --strict-markers"

test-slow: $(READY)
	@status=0; \
	$(SLOW) -n 2 --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,$(ALONE)) || status=$$?; \
	$(SLOW) $(ALONE) || status=$$?; \
	exit $$status

# Random kills of trainings and preprocessings; status 1 where anything was lost.
SOAK_MINUTES ?= 10

soak: $(READY)
	@$(BIN)/python tests/faults/soak.py minutes=$(SOAK_MINUTES) $(if $(SOAK_SEED),seed=$(SOAK_SEED))

# Every parser of what comes from outside, ten thousand hostile inputs each; FUZZ= says another number.
FUZZ ?= 10000

fuzz: $(READY)
	@ANCHOR_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz -s -n 2 --dist load --tb=short

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The same tests on torch 2.4, in a venv of its own: PYTHON_OLDEST=..., else the first of these that starts.
PYTHONS_OLDEST := $(PYTHON_OLDEST) python3.10 python3.11
OLDEST := .venv-oldest
PIP_OLDEST := $(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check

test-oldest: $(OLDEST)/.ready
	@$(OLDEST)/bin/python -c 'import platform, torch, torchvision as tv, torchaudio as ta; print(f"make: Python {platform.python_version()}, torch {torch.__version__}, torchvision {tv.__version__}, torchaudio {ta.__version__}")'
	@$(OLDEST)/bin/python -m pytest -n 2 --durations=10

$(OLDEST)/.ready: pyproject.toml lock-oldest.txt
	@test -z "$(PYTHON_OLDEST)" || $(PYTHON_OLDEST) -c '' || { echo "PYTHON_OLDEST=$(PYTHON_OLDEST) does not start."; exit 1; }
	@for python in $(PYTHONS_OLDEST); do \
	    $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 12))' 2>/dev/null || continue; \
	    echo "make: $$($$python --version) for $(OLDEST)"; test -x $(OLDEST)/bin/python || $$python -m venv $(OLDEST); exit 0; \
	done; echo "torch 2.4 needs Python 3.10 or 3.11 with venv. Give one with make test-oldest PYTHON_OLDEST=..., or run: $(APT_LINE)"; exit 1
	@echo "make: installing torch 2.4 and what was current with it into $(OLDEST) (several GB, a few minutes, once)"
	@sed -n '/^setuptools==/,/[^\\]$$/p' lock-oldest.txt > $(OLDEST)/build.txt
	@$(PIP_OLDEST) --require-hashes --no-deps -r $(OLDEST)/build.txt
	@$(PIP_OLDEST) --require-hashes --no-deps --no-build-isolation -r lock-oldest.txt
	@$(PIP_OLDEST) --no-deps --no-build-isolation -e .
	@touch $@

# lock.txt and lock-oldest.txt anew: every package of the constraints that a developer's machine gets, with the SHA-256 of
# each of its files. The older set is for Python 3.10 and 3.11, which uv is told by a pyproject.toml of its own.
LOCKER := .venv-lock
COMPILE := bin/uv pip compile --quiet --generate-hashes --universal --no-header --no-annotate

lock:
	@test -x $(LOCKER)/bin/uv || { $(PYTHON) -m venv $(LOCKER) && $(LOCKER)/bin/python -m pip install --quiet uv==0.13.9; }
	@$(LOCKER)/$(COMPILE) pyproject.toml --extra dev -c constraints.txt --python-version 3.11 -o lock.txt
	@{ cat pyproject.toml; printf '\n[tool.uv]\nenvironments = ["python_version < \"3.12\""]\n'; } > $(LOCKER)/pyproject.toml
	@cd $(LOCKER) && $(COMPILE) pyproject.toml --extra test -c $(CURDIR)/constraints-oldest.txt --python-version 3.10 \
	    -o $(CURDIR)/lock-oldest.txt
	@sed -i "s/python_full_version < '3.12' and //; s/ ; python_full_version < '3.12'//" lock-oldest.txt

clean-demo:
	rm -rf runs/demo
