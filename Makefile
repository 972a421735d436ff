# `make demo` and `make test` need nothing but Python 3.11 or later: they make their own .venv.
# What a user installs is enough for `make demo`; the tests and all else want more, and install it when they are called.

PYTHON ?= python3
BIN := .venv/bin
# Newer than what it depends on when .venv is up to date.
STAMP := .venv/installed
DEV_STAMP := .venv/installed-dev
DOCS_STAMP := .venv/installed-docs
DIGITS := examples/digits
# Two files of tests at a time, one thread each, in the order of tests/conftest.py.
BESIDE := -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint docs pages wheel device pythons lock oldest oldest-quick figures fuzz clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

demo: $(STAMP)  ## export the digits model, prove the file exact, evaluate it (out/digits.onnx)
	mkdir -p out
	$(BIN)/mptq-export $(DIGITS)/digits_vit.pt --calib $(DIGITS)/calib -o out/digits.onnx --force
	$(BIN)/mptq-verify out/digits.onnx --images $(DIGITS)/val
	$(BIN)/mptq-eval out/digits.onnx --data $(DIGITS)/val --float $(DIGITS)/digits_vit.pt

test: $(DEV_STAMP)  ## run the fast tests
	$(BIN)/python -m pytest $(BESIDE) -m "not slow"

test-all: $(DEV_STAMP)  ## run all tests, the long proofs too
	$(BIN)/python -m pytest $(BESIDE)

lint: $(DEV_STAMP)  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(DOCS_STAMP)  ## build the pages in docs/ (out/site); a broken link fails
	$(BIN)/properdocs build --strict -f mkdocs.yml # with --quiet warnings are not counted, and nothing fails

pages: $(DEV_STAMP)  ## run the commands of README and tutorial, and write what they print into the pages
	$(BIN)/python -m tools.pages renew

# The lock is for Linux on x86-64 and CPython 3.11; elsewhere: make wheel LOCKED='-c constraints.txt'
LOCKED ?= --no-deps --require-hashes -r $(DIGITS)/requirements.lock

wheel:  ## build the wheel, install it alone into a new .venv, export and verify the demo's checkpoint with it
	rm -rf .venv build dist
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps -w dist .
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(LOCKED)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet dist/*.whl
	$(BIN)/python -m pip check
	tools/check_install.sh $(BIN) $(DIGITS)

# The two small distributions: each alone in an environment of its own.
device: demo  ## install mptq-device alone, and kernels_ref alone; verify, evaluate and time the demo's file there
	rm -rf .venv-device .venv-reference distributions/*/build
	mkdir -p dist
	$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps -w dist ./distributions/device ./distributions/kernels_ref
	rm -rf distributions/*/build distributions/*/*.egg-info
	tools/check_device.sh $(PYTHON) dist out/digits.onnx $(DIGITS)

pythons:  ## demo and device under each of python3.11 to python3.14 that is on the path
	$(PYTHON) -m tools.pythons

lock: $(DEV_STAMP)  ## write the lock anew: versions that stand there stay where they can (UPGRADE=--upgrade: the newest)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv
	$(BIN)/uv pip compile pyproject.toml -c constraints.txt --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--generate-hashes --no-annotate --custom-compile-command "make lock" $(UPGRADE) -q -o $(DIGITS)/requirements.lock

oldest:  ## run the fast tests with the oldest versions that pyproject.toml allows (in .venv-oldest)
	$(PYTHON) -m tools.oldest .venv-oldest $(BESIDE)

oldest-quick: $(DEV_STAMP)  ## the same over .venv's torch, and only the tests of what loads, runs and checks files (CI)
	$(PYTHON) -m tools.oldest --over .venv .venv-oldest-quick $(BESIDE) tests/load tests/verify tests/evaluate tests/recipe

# What a call of `measure` takes besides: FIGURES="--jobs 4 --threads 4 --minutes 9"
FIGURES ?=

figures: $(DEV_STAMP)  ## measure what the pages show (MPTQ_ASSETS: the checkpoints), keep it in docs/figures, write the tables
	$(BIN)/python -m tools.figures measure $(FIGURES)
	$(BIN)/python -m tools.figures collect
	$(BIN)/python -m tools.figures tables

fuzz: $(DEV_STAMP)  ## damaged files to everything that reads a file, for ten minutes
	$(BIN)/python -W ignore -m tools.fuzz --seconds 600

clean:  ## remove .venv and everything that was built
	rm -rf .venv .venv-oldest .venv-oldest-quick .venv-device .venv-reference out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(DOCS_STAMP): $(DEV_STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python tools/set_up.py dev,edge
	touch $@

# torch in a build for CPUs where pip finds one: see the script.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python tools/set_up.py
	touch $@
