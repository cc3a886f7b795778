# Two commands do all the set-up on a fresh clone: `make run` and `make test`.

PYTHON ?= python3
# What the tests run on: sqlite, postgres or mariadb on this machine, or the URL of another server.
DB ?= sqlite
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test faults lint format benchmarks frontend messages clean

run: $(VENV)/.run-installed
	$(BIN)/python manage.py up --sample $(ARGS)

# Some wait: three fit two cores.
test: $(VENV)/.dev-installed
	@tests/install_browser.sh
	TEST_DB='$(DB)' $(BIN)/python -m pytest -n 3 --dist worksteal --ignore=tests/faults $(ARGS)

# Faults at real processes and servers: see docs/reliability.md. They wait for leases and start many sites; six keep two
# cores busy.
faults: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -n 6 --dist worksteal tests/faults $(ARGS)

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null

format: $(VENV)/.dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The built files are committed; CI checks that this gives them byte for byte.
frontend:
	cd frontend/editor && npm ci --ignore-scripts --no-audit --no-fund && npm run build

messages:
	cd $(CURDIR) && $(BIN)/python manage.py compilemessages --ignore=$(VENV)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11, 3.12 or 3.13 is needed, not " + sys.version.split()[0]) if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run-installed: $(VENV)/.made requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.run-installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV)
