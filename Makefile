# Two commands do all the set-up: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test faults install lint bench pin-images lock screenshots translations clean
.DEFAULT_GOAL := run

# Each stamp is newer than the lock file it was installed from; a changed lock installs anew.
$(VENV)/.runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Paperround needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/.runtime

run: $(VENV)/.runtime ## the whole service on this machine: database, web, workers, mailbox
	@exec $(BIN)/paperround up

test: $(VENV)/.dev ## every test, on the embedded database
	$(BIN)/python -m pytest -n 3

faults: $(VENV)/.dev ## a hundred kills in rounds of 2,000 readers (ten minutes; needs redis-server)
	$(BIN)/python -m tests.faults.kills --kills 100 --readers 2000

lint: $(VENV)/.dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## every benchmark beside its peer: docs/benchmarks.md (some 20 minutes; wants an idle machine)
	$(BIN)/python -m benchmarks.suite

pin-images: $(VENV)/.runtime ## tags in Dockerfile and docker-compose.yml become today's digests (needs Docker)
	$(BIN)/python deploy/pin_images.py

screenshots: $(VENV)/.dev ## docs/screenshots, taken from the sample papers (needs Chromium)
	$(BIN)/python -m tests.journeys.screenshots

translations: $(VENV)/.dev ## messages out of code and templates into the catalogues: docs/translating.md
	$(BIN)/pybabel -q extract -F translations/extract.cfg -k later --no-location --sort-output -o $(VENV)/paperround.pot .
	$(BIN)/pybabel -q update -i $(VENV)/paperround.pot -d translations -D paperround --width 100 --ignore-obsolete --ignore-pot-creation-date

lock: ## resolve the newest allowed versions into the lock files (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --extra traces -c requirements.lock -o requirements-traces.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
