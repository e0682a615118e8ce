# The stages as files: each rule makes the checkpoint of its stage from those of the stages before it.
#   make two-stream DATA=real SPLIT=2 SEED=1 RECIPE=strong ARGS='trainer.max_epochs=3'

DATA ?= demo
SPLIT ?= 1
SEED ?= 0
RECIPE ?= $(if $(filter demo,$(DATA)),demo,reference)
ARGS ?=
PYTHON ?= python3
VENV ?= .venv

# ARGS may say anything that Hydra takes, so where it names one of these, the rules follow it.
override_of = $(or $(lastword $(patsubst $(1)=%,%,$(filter $(1)=%,$(ARGS)))),$(2))
NAME := $(call override_of,paths.name,$(DATA))
OUTPUTS := $(call override_of,paths.outputs,outputs)
RUN_SPLIT := $(call override_of,split,$(SPLIT))
RUN_SEED := $(call override_of,seed,$(SEED))

BIN := $(VENV)/bin
READY := $(VENV)/.installed
CHAIN := $(OUTPUTS)/$(NAME)
BEST := split$(RUN_SPLIT)-seed$(RUN_SEED)/checkpoints/best.ckpt
STANFORD40_FRAME := $(CHAIN)/stanford40_frame/split1-seed$(RUN_SEED)/checkpoints/best.ckpt
HMDB51_FRAME := $(CHAIN)/hmdb51_frame/$(BEST)
HMDB51_FLOW := $(CHAIN)/hmdb51_flow/$(BEST)
TWO_STREAM := $(CHAIN)/hmdb51_two_stream/$(BEST)
DEMO := $(OUTPUTS)/demo/data/demo.json

PATHS = paths=$(DATA) paths.name=$(NAME) paths.outputs=$(OUTPUTS)
SETTINGS = recipe=$(RECIPE) $(PATHS) split=$(SPLIT) seed=$(SEED) $(ARGS)
TRAIN = $(BIN)/python -m actionrec.train $(SETTINGS)
EXTRACT = $(BIN)/python -m actionrec.extract_flow $(SETTINGS)
DATA_READY = $(READY) $(if $(filter demo,$(DATA)),$(DEMO))

.DEFAULT_GOAL := help
.PHONY: help install demo test lint benchmark clean all data flow stanford40-frame hmdb51-frame hmdb51-flow two-stream sweep report tensorboard

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | awk -F'\t' '{printf "  %-18s%s\n", $$1, $$2}'
	@echo
	@echo "  DATA=demo|real|<conf/paths file>  SPLIT=1|2|3  SEED=0…  RECIPE=reference|strong|demo  ARGS='<Hydra overrides>'"

install: $(READY) ## Make the virtual environment
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,launchers]'
	touch $@

demo: ## The whole chain on generated data, ending in a table and a page
	$(MAKE) --no-print-directory all DATA=demo RECIPE=demo

test: $(READY) ## Run the tests
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(READY) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

benchmark: $(READY) ## Measure what the documents say of speed and memory, on the data under ../shared/data
	$(BIN)/python -m benchmarks.flow
	$(BIN)/python -m benchmarks.training

clean: ## Remove caches and what the demo made; runs on other data stay
	rm -rf outputs/demo .mypy_cache .ruff_cache .pytest_cache
	find actionrec benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

all: two-stream report ## All four stages, and their report

data: $(DATA_READY) ## Generate the demo set (DATA=demo)
$(DEMO): | $(READY)
	$(BIN)/python -m actionrec.prepare dataset=demo $(PATHS)

flow: $(DATA_READY) ## Extract the optical flow
	$(EXTRACT)

stanford40-frame: $(STANFORD40_FRAME) ## Stage 1: stills
$(STANFORD40_FRAME): | $(DATA_READY)
	$(TRAIN) experiment=stanford40_frame

hmdb51-frame: $(HMDB51_FRAME) ## Stage 2: frames of clips, from stage 1
$(HMDB51_FRAME): $(STANFORD40_FRAME) | $(DATA_READY)
	$(TRAIN) experiment=hmdb51_frame

hmdb51-flow: $(HMDB51_FLOW) ## Stage 3: optical flow of clips
$(HMDB51_FLOW): | $(DATA_READY)
	$(EXTRACT)
	$(TRAIN) experiment=hmdb51_flow

two-stream: $(TWO_STREAM) ## Stage 4: frames and flow, from stages 2 and 3
$(TWO_STREAM): $(HMDB51_FRAME) $(HMDB51_FLOW) | $(DATA_READY)
	$(TRAIN) experiment=hmdb51_two_stream

sweep: $(DATA_READY) ## A small multirun: learning rate by seed, on stage 1
	$(BIN)/python -m actionrec.train recipe=$(RECIPE) $(PATHS) experiment=stanford40_frame sweep=learning_rate $(ARGS) --multirun

report: $(READY) ## The table of the runs, and a page of all there is: outputs/<data>/report/index.html
	@$(BIN)/python -m actionrec.report $(PATHS)

tensorboard: $(READY) ## Show what the runs wrote
	$(BIN)/tensorboard --logdir $(CHAIN)
