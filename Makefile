# Two commands: `make demo` shows what it does, `make test` checks that it works. The first needs
# no torch, the second does. Each makes its own virtual environment in .venv on first use.
# After training: `make weights` makes the ONNX graphs that belong to the weights in the package.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test docs weights clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/pytest

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build
	@echo 'Open site/index.html, or run $(BIN)/mkdocs serve to search and to see changes at once.'

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
