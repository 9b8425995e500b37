# Two commands: `make demo` shows what it does, `make test` checks that it works. The first needs
# no torch, the second does. Each makes its own virtual environment in .venv on first use. After that,
# `.venv/bin/pytest -m "not slow"` leaves out what trains, exports, serves or opens a browser.
# `make train DATA=folder` makes the weights again that `recipes/lite_more.yaml`, which needs a teacher,
# begins with, in runs/; killed, it goes on. After that,
# `make weights` makes the ONNX graphs that belong to the weights in the package.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test docs train weights clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports
	$(BIN)/pytest

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build
	@echo 'Open site/index.html, or run $(BIN)/mkdocs serve to search and to see changes at once.'

train: $(VENV)/.installed-dev
	@test -n '$(DATA)' || { echo 'Say where the labelled sets are: make train DATA=folder'; exit 2; }
	$(BIN)/dpseg train recipes/lite_zero_shot.yaml --data $(DATA) --out runs/zero_shot
	$(BIN)/dpseg train recipes/lite.yaml --data $(DATA) --out runs/lite --start runs/zero_shot
	$(BIN)/dpseg train recipes/lite_decoder.yaml --data $(DATA) --out runs/decoder --start runs/lite
	$(BIN)/dpseg train recipes/lite_decoder.yaml --data $(DATA) --out runs/shipped --start runs/decoder

weights: $(VENV)/.installed-dev
	$(BIN)/dpseg export --out src/dpseg/weights

clean:
	rm -rf $(VENV) out site .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "dpseg needs Python 3.10 or newer; give one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
