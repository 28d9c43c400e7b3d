# Everything here needs make and Python 3.11, and nothing else. `make help` says what there is.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
UV     := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
PACKAGES := dualcast streaming batch feature_repo models services infra
DATA   ?=
ARGS   ?=
# two workers, each with servers that its modules share, take 8 GiB; the order puts the longest modules first
SHARED := -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
# without byte code, every start of every process compiles all that it imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup lock demo test check bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make the environment in .venv, exactly as requirements.lock says

.uv/bin/uv:
	python3.11 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.8

$(STAMP): requirements.lock pyproject.toml services/client/pyproject.toml | $(filter .uv/bin/uv,$(UV))
	test -x $(BIN)/python || $(UV) venv --quiet --python 3.11 $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . --editable services/client
	touch $@

lock: setup ## resolve requirements.lock and the Java archives anew
	$(UV) pip compile pyproject.toml --all-extras --group dev --generate-hashes --no-header --quiet -p 3.11 -o requirements.lock
	$(BIN)/python -m infra.local.java lock

demo: setup ## the whole platform on this machine; DATA=file.csv replays a file, ARGS="--days 7" and so on
	$(BIN)/dualcast demo $(if $(DATA),--data "$(DATA)") $(ARGS)

test: setup ## all tests, two at a time, against real servers, and the ten slowest; ARGS=tests/unit and so on runs those, one by one
	$(BIN)/pytest --durations=10 $(or $(ARGS),$(SHARED))

check: setup ## what CI checks besides the tests: style, types, imports between packages, the compose file
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(PACKAGES) benchmarks tests
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench: setup ## measure speed and scale, and write benchmarks/results.md
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## stop the stack and remove its state, the environment and all caches
	-test ! -x $(BIN)/dualcast || $(BIN)/dualcast down
	rm -rf .dualcast $(VENV) .uv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
