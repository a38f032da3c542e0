PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
PORT ?= 8000

.PHONY: demo demo-llm test lint clean

demo: $(VENV)/installed ## the embedded SageMaker and the proxy; MODEL_URL=… for a model of your own
	@$(RUN) -m tests.demo --port $(PORT) $(if $(MODEL_URL),--model-url $(MODEL_URL))

demo-llm: $(VENV)/installed ## the same with a real language model, compiled on first use
	@$(RUN) -m tests.demo --port $(PORT) --llm

test: $(VENV)/installed ## everything that this machine can run
	$(RUN) -m pytest

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) .venv-llm .demo .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info

$(VENV)/installed: requirements.txt requirements-dev.txt pyproject.toml
	@echo "Installing the locked dependencies into $(VENV), about a minute on the first run…"
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
