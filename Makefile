# Two commands on a fresh machine with Python 3.11+: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A first look: the CNN, a few minutes on two CPU cores, on whatever data can be had.
RECIPE := --arch cnn --optimizer sgd --learning-rate 0.05 --weight-decay 5e-4 --schedule cosine --dropout 0.2
FIRST_LOOK := $(RECIPE) --dataset auto --epochs 5 --train-examples 10000
ARGS ?= $(FIRST_LOOK)

.PHONY: run test lint clean

run: $(VENV)/installed  ## install and train; make run ARGS="--arch resnet18" passes options on
	@echo "==> python -m experiments.run $(ARGS)"
	@$(BIN)/python -m experiments.run $(ARGS)
	@echo "Next, the same on all images: make run ARGS=\"$(RECIPE) --epochs 20\""
	@echo "or the reference on a GPU:    make run ARGS=\"--arch resnet18\"   (all options: ARGS=--help)"

test: $(VENV)/installed-test  ## install what tests need, check the style, run the tests
	@echo "==> ruff"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> pytest"
	@$(BIN)/python -m pytest $(TESTS)

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "==> installing into $(VENV) (about 1 GB, a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "==> installing what the tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

clean:  ## remove the environment and caches, never data or runs
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache
