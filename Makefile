.DEFAULT_GOAL := help
.PHONY: help demo test bench results results-list lint docs dev dist audit clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# Constraints in every call: without them pip takes a torch that brings gigabytes of CUDA along.
INSTALL := $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt
SOURCES := pyproject.toml constraints.txt

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo ## run the digits task for three seeds and say where its table is
	$(VENV)/bin/ocd run digits --out runs/digits --seeds 0,1,2 --set alternative=false
	@echo "The table: runs/digits/report.md"
	$(VENV)/bin/ocd apply runs/digits --input runs/digits/examples --out runs/digits/answers.csv

test: $(VENV)/.installed-dev ## run the tests, without the slow ones; make test ROOM=generator: one room
	$(VENV)/bin/python -m pytest $(if $(ROOM),tests/$(ROOM),--numprocesses auto --dist loadfile)

bench: $(VENV)/.installed-dev ## measure what OCD costs, against the released way and the limit: 40 minutes
	$(VENV)/bin/python -m benchmarks.speed
	$(VENV)/bin/python -m benchmarks.large
	$(VENV)/bin/python -m benchmarks.fits
	$(VENV)/bin/python -m benchmarks.sweeps
	$(VENV)/bin/python -m benchmarks.steps
	$(VENV)/bin/python -m benchmarks.growth
	$(VENV)/bin/python -m benchmarks.ways
	$(VENV)/bin/python -m benchmarks.learning_rates
	$(VENV)/bin/python -m benchmarks.endurance
	$(VENV)/bin/python -m benchmarks.endurance --task table
	$(VENV)/bin/python -m benchmarks.heads
	$(VENV)/bin/python -m benchmarks.separation
	$(VENV)/bin/python tools/performance_tables.py

RESULTS := $(VENV)/bin/python tools/make_results.py --jobs $(or $(JOBS),1) $(if $(DATA),--data $(DATA)) $(if $(ONLY),--only $(ONLY))

results: $(VENV)/.installed-dev ## make the committed results again, hours: make results DATA=FOLDER ONLY=mnist,nerf JOBS=2
	$(RESULTS)

results-list: $(VENV)/.installed-dev ## what make results would take: hours, data, and which results are of other code
	$(RESULTS) --list

lint: $(VENV)/.installed-dev ## check style, format and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

docs: $(VENV)/.installed-dev ## build the documentation into build/docs; a warning is an error
	$(VENV)/bin/python -m sphinx --fresh-env --write-all --fail-on-warning --keep-going --quiet -c docs -d build/doctrees . build/docs
	@echo "The site: build/docs/index.html"

dist: $(VENV)/.installed-dev ## build wheel and sdist, and try each in a new environment
	$(VENV)/bin/python tools/dist.py

audit: $(VENV)/.installed-dev ## look up known weaknesses of the pinned versions; needs a network, and fails without
	$(INSTALL) pip-audit
	$(VENV)/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

dev: $(VENV)/.installed-dev ## make .venv with the tools of development

clean: ## remove .venv, caches and builds; runs are kept
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: $(SOURCES) | $(VENV)/bin/python
	$(INSTALL) --editable '.[digits]'
	@touch $@

$(VENV)/.installed-dev: $(SOURCES) | $(VENV)/bin/python
	$(INSTALL) --editable '.[dev]'
	@touch $@
