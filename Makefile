# Two commands are all the set-up there is: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
FRAMEWORKS := .venv-frameworks
NODE := tests/clients/node
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Tests of the pure packages and of the architecture: no server, no socket.
PURE := tests/wire tests/chat tests/engines tests/tasks $(filter-out %__pycache__/,$(wildcard tests/dialects/*/)) \
  $(addprefix tests/dialects/test_,options.py engine_request.py engine_response.py) tests/test_architecture.py

.PHONY: run check test test-clients lint bench soak size lock fuzz clean

run: $(VENV)/run
	@$(BIN)/python server.py $(ARGS)

# Without compiled files each worker, and each server that a test starts, would compile everything anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/dev
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# What is worth a look before each commit, in well under a minute.
check: lint
	@$(BIN)/python -m pytest -n auto $(PURE) $(ARGS)

test-clients: $(CLIENTS)/ready $(FRAMEWORKS)/ready $(if $(shell command -v npm),$(NODE)/node_modules/ready)
	@$(CLIENTS)/bin/python -m pytest -rs --override-ini norecursedirs= -W ignore \
		--ignore tests/clients/test_frameworks.py tests/clients $(ARGS)
	@$(FRAMEWORKS)/bin/python -m pytest -rs --override-ini norecursedirs= -W ignore \
		tests/clients/test_frameworks.py $(ARGS)

lint: $(VENV)/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/dev
	@$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/dev
	@$(BIN)/python -m soak $(ARGS)

size: $(VENV)/run
	@$(BIN)/python -m bench.size $(ARGS)

fuzz: $(VENV)/fuzz
	@$(BIN)/python -m fuzz $(ARGS)

# New versions of what runs, with their hashes; the lines before the first package stay.
lock: $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@head=$$(sed '/^[a-z]/,$$d' requirements.lock); new=$$($(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header requirements.txt) && printf '%s\n' "$$head" "$$new" > requirements.lock

clean:
	rm -rf $(VENV) $(CLIENTS) $(FRAMEWORKS) $(NODE)/node_modules

# A mark for each set of packages, renewed when its list changes.
$(VENV)/bin/python $(CLIENTS)/bin/python $(FRAMEWORKS)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "installing python3-venv, which Debian keeps apart …"; \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq -y python3-venv; }
	@$(PYTHON) -m venv $(@:/bin/python=) || { rm -rf $(@:/bin/python=); exit 1; }

$(VENV)/run: requirements.lock | $(VENV)/bin/python
	@echo "installing what the server needs …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/dev: requirements.txt requirements-tools.txt requirements-fast.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "installing what the tests need …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run

# Other people's clients, apart from what the tests need: they want versions of their own.
$(CLIENTS)/ready: requirements.txt requirements-clients.txt | $(CLIENTS)/bin/python
	@echo "installing the clients of Python …"
	@$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-clients.txt
	@touch $@

# They want older versions of the vendors' packages.
$(FRAMEWORKS)/ready: requirements.txt requirements-frameworks.txt | $(FRAMEWORKS)/bin/python
	@echo "installing the agent frameworks of Python …"
	@$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-frameworks.txt
	@touch $@

$(NODE)/node_modules/ready: $(NODE)/package.json
	@echo "installing the clients of Node …"
	@npm install --prefix $(NODE) --no-package-lock --no-audit --no-fund --loglevel error
	@touch $@

$(VENV)/fuzz: requirements-fuzz.txt | $(VENV)/dev
	@echo "installing the fuzzer …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt
	@touch $@
