# `make demo` and `make test` need nothing but Python 3.11 or later: they make their own .venv.

PYTHON ?= python3
BIN := .venv/bin
# Newer than what it depends on when .venv is up to date.
STAMP := .venv/installed
DIGITS := examples/digits

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

demo: $(STAMP)  ## export the digits model, prove the file exact, evaluate it (out/digits.onnx)
	mkdir -p out
	$(BIN)/mptq-export $(DIGITS)/digits_vit.pt --calib $(DIGITS)/calib -o out/digits.onnx --force
	$(BIN)/mptq-verify out/digits.onnx --images $(DIGITS)/val
	$(BIN)/mptq-eval out/digits.onnx --data $(DIGITS)/val --float $(DIGITS)/digits_vit.pt

test: $(STAMP)  ## run the fast tests
	$(BIN)/python -m pytest -m "not slow"

test-all: $(STAMP)  ## run all tests, the long proofs too
	$(BIN)/python -m pytest

lint: $(STAMP)  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:  ## remove .venv and everything that was built
	rm -rf .venv out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
