# make demo: see it work.  make test: everything that must hold.  Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN := runs/demo
DATA := data/synthetic

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint long coverage docs chaos mutants fuzz audit clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(STAMP) ## make .venv with everything in it

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"error: Python {sys.version.split()[0]} is too old, 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(DATA)/annotations/person_keypoints_val.json: | $(STAMP)
	$(BIN)/python scripts/make_synthetic.py out=$(DATA)

demo: $(STAMP) $(DATA)/annotations/person_keypoints_val.json ## generate people, train, evaluate, predict
	$(BIN)/python scripts/train.py experiment=demo run.name=$(notdir $(RUN)) run.if_exists=resume
	$(BIN)/python scripts/evaluate.py checkpoint=$(RUN)/best.safetensors out=$(RUN)/evaluation.json
	$(BIN)/python scripts/predict.py checkpoint=$(RUN)/best.safetensors source=$(DATA)/images/val \
		boxes=$(DATA)/annotations/person_keypoints_val.json out=$(RUN)/predictions
	@printf '\nThe results are in %s:\n' '$(RUN)'
	@printf '  %-28s %s\n' 'evaluation.html' 'the evaluation to look at, in a browser' \
		'evaluation.json' 'AP and the other COCO numbers' \
		'predictions/' 'pictures with skeletons, keypoints as JSON' \
		'best.safetensors' 'the model: cpn.Predictor.from_checkpoint("$(RUN)/best.safetensors")' \
		'metrics.jsonl, tensorboard/' 'the learning curves'

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## lint, types and all tests but the long ones
	$(BIN)/python -m pytest --numprocesses=2

long: $(STAMP) ## the tests that take half a minute and more: studies, searches, launchers, benchmarks
	$(BIN)/python -m pytest --numprocesses=2 -m long

coverage: $(STAMP) ## which share of cpn's lines and branches the tests of `make test` run; at least 90 %
	$(BIN)/python -m pytest --numprocesses=2 --cov=cpn --cov-report=term --cov-fail-under=90

docs: $(STAMP) ## the guides and the API as pages in build/docs; a warning is an error
	$(BIN)/python -m sphinx --builder html --jobs 2 --fail-on-warning --quiet docs build/docs
	@printf 'build/docs/index.html\n'

chaos: $(STAMP) ## kill training runs 50 times at random, ranks under torchrun, a host: compare results
	$(BIN)/python tests/two_hosts.py --kills 2
	$(BIN)/python tests/elastic.py --restarts 5
	$(BIN)/python tests/chaos.py --kills 50

mutants: $(STAMP) ## break the code in one place after the other: every time a test must go red
	$(BIN)/python tests/mutants.py

fuzz: $(STAMP) ## feed every reader of files with broken ones, ten minutes each
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	$(BIN)/python tests/fuzz/run.py --seconds $${SECONDS_EACH:-600}

audit: $(STAMP) ## ask a service of advisories for known holes in what is installed
	@test -x build/audit/bin/pip-audit || $(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > build/audit/installed.txt
	build/audit/bin/pip-audit --no-deps --disable-pip --requirement build/audit/installed.txt

clean: ## remove .venv and caches; runs/ and data/ stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find cpn scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
