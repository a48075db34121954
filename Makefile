# make demo [QUICK=1] | make demo VIDEO=me.mp4 [SPEECH=voice.wav] | make test | make test-slow | make check
# The first call creates .venv and installs pinned packages; later calls need no network.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
APT_LINE := apt-get install -y python3-venv libgl1 libglib2.0-0 libxcb1
# Two cores: threads that wait must not spin against the other process.
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test test-slow check clean-demo

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "anchor needs Python 3.11 or later and make. Run: apt-get install -y python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: the pinned packages need Python 3.11 or later; give another with make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing. Run: $(APT_LINE)"; exit 1; }
	@echo "make: installing pinned packages into $(VENV) (several GB, a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV lacks a system library. Run: $(APT_LINE)"; exit 1; }
	@touch $@

demo: $(READY)
	@$(BIN)/python -m launch.demo $(if $(VIDEO),"video=$(VIDEO)") $(if $(SPEECH),"speech=$(SPEECH)") $(if $(OUT),"out=$(OUT)") $(if $(QUICK),quick=true)

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --durations=10

test-slow: $(READY)
	@$(BIN)/python -m pytest -m slow --durations=10 -o addopts="-q --strict-markers"

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

clean-demo:
	rm -rf runs/demo
