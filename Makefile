# make lab     sets everything up and opens the course
# make test    sets everything up and runs every test, notebooks included
# Both take TORCH=cpu (torch's CPU build on Linux) and PYTHON=/path/to/python3.

export TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

RUN := PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python
FIRST := notebooks/00_your_machine.ipynb
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: setup lab test notebooks format wheelhouse

setup:
	@sh scripts/setup.sh

lab: setup
	@$(RUN) -m jupyterlab $(AS_ROOT) $(LAB_ARGS) $(FIRST)

test: setup
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m pytest $(PYTEST_ARGS)

notebooks: setup
	@$(RUN) scripts/notebooks.py $(NOTEBOOKS_ARGS)

format: setup
	@$(RUN) -m ruff check --fix --exit-zero .
	@$(RUN) -m ruff format .

wheelhouse: setup
	@sh scripts/wheelhouse.sh
