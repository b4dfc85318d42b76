# Everything on a machine with Python only: `make demo`, `make test`.
PYTHON ?= python3
CONFIG ?= adm-256
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LABEL := .venv-label
LABEL_READY := $(LABEL)/.ready

.PHONY: venv demo test test-all test-label benchmark check format

venv: $(READY)

$(READY): setup.py setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dicom,slides,test,check]"
	touch $(READY)

demo: $(READY)
	$(BIN)/textdiff demo demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-all: $(READY)
	$(BIN)/python -m pytest -m ""

# Building sam2, which MONAI Label asks for, takes the PyTorch that is there. A torchvision without its PyTorch must go.
$(LABEL_READY): setup.cfg constraints-label.txt
	$(PYTHON) -m venv $(LABEL)
	$(LABEL)/bin/python -m pip install --constraint constraints-label.txt torch setuptools wheel pytest
	SAM2_BUILD_CUDA=0 $(LABEL)/bin/python -m pip install --no-build-isolation --constraint constraints-label.txt --editable ".[label]"
	$(LABEL)/bin/python -c "import torchvision" || $(LABEL)/bin/python -m pip uninstall --yes torchvision
	touch $(LABEL_READY)

test-label: $(LABEL_READY)
	$(LABEL)/bin/python -m pytest -m label tests/apps/label

benchmark: $(READY)
	$(BIN)/python -m benchmarks --config $(CONFIG) --out benchmark.json

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
