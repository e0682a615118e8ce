# The stages as files: each rule makes the checkpoint of its stage from those of the stages before it.
#   make two-stream DATA=real SPLIT=2 SEED=1 RECIPE=strong ARGS='trainer.max_epochs=3'

DATA ?= demo
SPLIT ?= 1
SEED ?= 0
RECIPE ?= $(if $(filter demo,$(DATA)),demo,reference)
ARGS ?=
STUDY_ARGS ?=
SPLITS ?= 1 2 3
SEEDS ?= $(SEED)
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
RUN := split$(RUN_SPLIT)-seed$(RUN_SEED)
BEST := $(RUN)/checkpoints/best.ckpt
STANFORD40_FRAME := $(CHAIN)/stanford40_frame/split1-seed$(RUN_SEED)/checkpoints/best.ckpt
HMDB51_FRAME := $(CHAIN)/hmdb51_frame/$(BEST)
HMDB51_FLOW := $(CHAIN)/hmdb51_flow/$(BEST)
TWO_STREAM := $(CHAIN)/hmdb51_two_stream/$(BEST)
TWO_STREAM_CONV := $(CHAIN)/hmdb51_two_stream_conv/$(BEST)
TRAIN_SCORES := $(foreach stage,hmdb51_frame hmdb51_flow,$(CHAIN)/$(stage)/$(RUN)/scores_train.npz)
FUSION := $(CHAIN)/fusion/$(RUN)/fusion.json
STILLS_FROM_SCRATCH := $(CHAIN)/sweeps/initialisation/stanford40_from_scratch/checkpoints/best.ckpt
DEMO := $(OUTPUTS)/demo/data/demo.json

# What the report shows closely, where the command line says it; else the first chain that there is.
SHOWN = $(if $(filter command,$(origin SPLIT)),split=$(SPLIT)) $(if $(filter command,$(origin SEED)),seed=$(SEED))

PATHS = paths=$(DATA) paths.name=$(NAME) paths.outputs=$(OUTPUTS)
SETTINGS = recipe=$(RECIPE) $(PATHS) split=$(SPLIT) seed=$(SEED) $(ARGS)
TRAIN = $(BIN)/python -m actionrec.train resume=auto $(SETTINGS)
STUDY = $(BIN)/python -m actionrec.train recipe=$(RECIPE) $(PATHS) split=$(SPLIT) $(ARGS) $(STUDY_ARGS)
STUDIES := frame-position augmentation schedule fusion flow initialisation backbone image-size
STAGE ?= stanford40_frame
STUDY_FLOWS ?= dis_balanced,farneback
EXTRACT = $(BIN)/python -m actionrec.extract_flow $(SETTINGS)
DATA_READY = $(READY) $(if $(filter demo,$(DATA)),$(DEMO))

.DEFAULT_GOAL := help
.PHONY: extract-flows help install demo test lint benchmark clean all data flow stanford40-frame hmdb51-frame hmdb51-flow two-stream fusion crossval \
  sweep search report tensorboard $(addprefix study-,$(STUDIES))

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | awk -F'\t' '{printf "  %-18s%s\n", $$1, $$2}'
	@echo
	@echo "  study-NAME of: $(STUDIES)"
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

fusion: $(FUSION) ## Fusions of the two streams' scores, and two trained ones, as a table
$(FUSION): $(TRAIN_SCORES) $(TWO_STREAM) $(TWO_STREAM_CONV)
	$(BIN)/python -m actionrec.fuse $(SETTINGS)
$(TWO_STREAM_CONV): $(HMDB51_FRAME) $(HMDB51_FLOW) | $(DATA_READY)
	$(TRAIN) experiment=hmdb51_two_stream model.fusion=conv run_dir=$(@:/checkpoints/best.ckpt=)
$(TRAIN_SCORES): $(CHAIN)/%/$(RUN)/scores_train.npz: $(CHAIN)/%/$(BEST)
	$(BIN)/python -m actionrec.evaluate experiment=$* $(SETTINGS) 'parts=[train]'

crossval: ## The chain and its fusions over SPLITS and SEEDS, each split from its own parents; goes on where it was
	@set -e; for seed in $(SEEDS); do for split in $(SPLITS); do \
	  $(MAKE) --no-print-directory two-stream fusion SPLIT=$$split SEED=$$seed; done; done
	@$(MAKE) --no-print-directory report

# A study is a file of conf/sweep/; those that start from runs need them first. ARGS are for all of them, STUDY_ARGS for
# the study alone, such as seed=0,1.
study-frame-position study-initialisation: $(STANFORD40_FRAME)
study-initialisation: $(STILLS_FROM_SCRATCH)
study-fusion: $(FUSION)
study-flow: ARGS += flow=$(STUDY_FLOWS)
study-flow: extract-flows
$(addprefix study-,$(STUDIES)): study-%: $(DATA_READY)
	$(STUDY) sweep=$(subst -,_,$*)
$(STILLS_FROM_SCRATCH): | $(DATA_READY)
	$(TRAIN) experiment=stanford40_frame backbone.weights=null run_dir=$(@:/checkpoints/best.ckpt=)
extract-flows: $(DATA_READY)
	$(EXTRACT) --multirun

search: $(READY) ## Settings of a stage by Optuna: STAGE=hmdb51_flow
	$(BIN)/python -m actionrec.search experiment=$(STAGE) $(SETTINGS)

sweep: $(DATA_READY) ## A small multirun: learning rate by seed, on stage 1
	$(BIN)/python -m actionrec.train recipe=$(RECIPE) $(PATHS) experiment=stanford40_frame sweep=learning_rate $(ARGS)

report: $(READY) ## The table of the runs, and a page of all there is: outputs/<data>/report/index.html
	@$(BIN)/python -m actionrec.report $(PATHS) $(SHOWN)

tensorboard: $(READY) ## Show what the runs wrote
	$(BIN)/tensorboard --logdir $(CHAIN)
