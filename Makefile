# The stages: each target trains its stage after those that it starts from. A run that is finished with the same settings
# and parents is left as it is; another run in its place is an error, unless ARGS=overwrite=true or TAG=<name> is given.
#   make two-stream DATA=real SPLIT=2 SEED=1 RECIPE=strong TAG=short ARGS='trainer.max_epochs=3'

DATA ?= demo
SPLIT ?= 1
SEED ?= 0
RECIPE ?= $(if $(filter demo,$(DATA)),demo,reference)
ARGS ?=
STILLS_ARGS ?= $(ARGS)
STUDY_ARGS ?=
SPLITS ?= 1 2 3
SEEDS ?= $(SEED)
TAG ?=
PYTHON ?= python3
VENV ?= .venv

# Each is a plain word: part of targets and of shell commands. ARGS is the shell's own, quotes and all.
UNSAFE := ; & | < > ( ) ' " ` \ $$ % : \# * ? [ ] { } ~ ! = /
VARIABLES := DATA SPLIT SEED RECIPE TAG
$(foreach name,$(VARIABLES) SPLITS SEEDS,$(foreach each,$(UNSAFE),$(if $(findstring $(each),$(value $(name))),$(if $(filter $(origin $(name)),command environment),$(error $(name)='$(value $(name))': use letters, digits, - and _)))))
$(foreach name,$(VARIABLES),$(if $(word 2,$($(name))),$(error $(name)='$($(name))': one word without blanks; several splits and seeds: make crossval SPLITS='1 2' SEEDS='0 1')))

# ARGS may say anything that Hydra takes, so where it names one of these, the rules follow it.
override_of = $(or $(lastword $(patsubst $(1)=%,%,$(filter $(1)=%,$(ARGS)))),$(2))
NAME := $(call override_of,paths.name,$(DATA))
OUTPUTS := $(call override_of,paths.outputs,outputs)
RUN_SPLIT := $(call override_of,split,$(SPLIT))
RUN_SEED := $(call override_of,seed,$(SEED))
RUN_TAG := $(filter-out null,$(call override_of,tag,$(TAG)))

BIN := $(VENV)/bin
READY := $(VENV)/.installed
CHAIN := $(OUTPUTS)/$(NAME)
RUN := split$(RUN_SPLIT)-seed$(RUN_SEED)$(if $(RUN_TAG),-$(RUN_TAG))
TRAIN_SCORES := $(foreach stage,hmdb51_frame hmdb51_flow,$(CHAIN)/$(stage)/$(RUN)/scores_train.npz)
DEMO := $(OUTPUTS)/demo/data/demo.json

# What the report shows closely, where the command line says it; else the first chain that there is.
SHOWN = $(strip $(if $(filter command,$(origin SPLIT)),split=$(SPLIT)) \
  $(if $(filter command,$(origin SEED)),seed=$(SEED)) $(if $(RUN_TAG),tag=$(RUN_TAG)))

PATHS = paths=$(DATA) paths.name=$(NAME) paths.outputs=$(OUTPUTS)
CHOSEN = recipe=$(RECIPE) $(PATHS) split=$(SPLIT) seed=$(SEED) $(if $(RUN_TAG),tag=$(RUN_TAG) parent_tag=$(RUN_TAG))
SETTINGS = $(CHOSEN) $(ARGS)
TRAIN = $(BIN)/actionrec train $(SETTINGS)
# STILLS_ARGS where stage 1 differs from the stages of clips, such as in its actions.
TRAIN_STILLS = $(BIN)/actionrec train $(CHOSEN) $(STILLS_ARGS) experiment=stanford40_frame
STUDY = $(BIN)/actionrec train recipe=$(RECIPE) $(PATHS) split=$(SPLIT) $(ARGS) $(STUDY_ARGS)
STUDIES := frame-position augmentation schedule fusion flow initialisation backbone image-size
STAGE ?= stanford40_frame
STUDY_FLOWS ?= dis_balanced,farneback
EXTRACT = $(BIN)/actionrec extract_flow $(SETTINGS)
DATA_READY = $(READY) $(if $(filter demo,$(DATA)),$(DEMO))

.DEFAULT_GOAL := help
.PHONY: extract-flows help install demo test lint benchmark clean all data flow stanford40-frame hmdb51-frame hmdb51-flow two-stream \
  two-stream-conv stills-from-scratch fusion crossval sweep search report tensorboard $(addprefix study-,$(STUDIES))

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | awk -F'\t' '{printf "  %-18s%s\n", $$1, $$2}'
	@echo
	@echo "  study-NAME of: $(STUDIES)"
	@echo "  DATA=demo|real|<conf/paths file>  SPLIT=1|2|3  SEED=0…  RECIPE=reference|strong|demo  TAG=<name of runs>  ARGS='<Hydra overrides>'"

install: $(READY) ## Make the virtual environment
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,launchers]'
	touch $@

demo: ## The whole chain on generated data, ending in a table and a page
	$(MAKE) --no-print-directory all DATA=demo RECIPE=demo

test: $(READY) ## Run the tests (CI=true: those too that take longest)
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile -rs $(if $(CI),,-m 'not ci')

lint: $(READY) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

benchmark: $(READY) ## Measure what the documents say of speed and memory, on the data in ACTIONREC_SAMPLES
	$(BIN)/python -m benchmarks.flow
	$(BIN)/python -m benchmarks.training

clean: ## Remove caches and what the demo made; runs on other data stay
	rm -rf outputs/demo .mypy_cache .ruff_cache .pytest_cache
	find actionrec benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

all: two-stream ## All four stages, and their report
	@$(MAKE) --no-print-directory report

data: $(DATA_READY) ## Generate the demo set (DATA=demo)
$(DEMO): | $(READY)
	$(BIN)/actionrec prepare dataset=demo $(PATHS)

flow: $(DATA_READY) ## Extract the optical flow
	$(EXTRACT)

stanford40-frame: $(DATA_READY) ## Stage 1: stills
	$(TRAIN_STILLS)

hmdb51-frame: stanford40-frame ## Stage 2: frames of clips, from stage 1
	$(TRAIN) experiment=hmdb51_frame

hmdb51-flow: flow ## Stage 3: optical flow of clips
	$(TRAIN) experiment=hmdb51_flow

two-stream: hmdb51-frame hmdb51-flow ## Stage 4: frames and flow, from stages 2 and 3
	$(TRAIN) experiment=hmdb51_two_stream

fusion: $(TRAIN_SCORES) two-stream two-stream-conv ## Fusions of the two streams' scores, and two trained ones, as a table
	$(BIN)/actionrec fuse $(SETTINGS)
two-stream-conv: hmdb51-frame hmdb51-flow
	$(TRAIN) experiment=hmdb51_two_stream model.fusion=conv run_dir=$(CHAIN)/hmdb51_two_stream_conv/$(RUN)
# The scores are part of a run's folder, so they are gone when the run is trained anew.
$(TRAIN_SCORES): $(CHAIN)/%/$(RUN)/scores_train.npz: | hmdb51-frame hmdb51-flow
	$(BIN)/actionrec evaluate experiment=$* $(SETTINGS) 'parts=[train]'

crossval: ## The chain and its fusions over SPLITS and SEEDS, each split from its own parents; goes on where it was
	@set -e; for seed in $(SEEDS); do for split in $(SPLITS); do \
	  $(MAKE) --no-print-directory two-stream fusion SPLIT=$$split SEED=$$seed; done; done
	@$(MAKE) --no-print-directory report

# A study is a file of conf/sweep/; those that start from runs need them first. ARGS are for all of them, STUDY_ARGS for
# the study alone, such as seed=0,1.
study-frame-position study-initialisation: stanford40-frame
study-initialisation: stills-from-scratch
study-fusion: fusion
study-flow: ARGS += flow=$(STUDY_FLOWS)
study-flow: extract-flows
$(addprefix study-,$(STUDIES)): study-%: $(DATA_READY)
	$(STUDY) sweep=$(subst -,_,$*)
stills-from-scratch: $(DATA_READY)
	$(TRAIN_STILLS) backbone.weights=null run_dir=$(CHAIN)/sweeps/initialisation/stanford40_from_scratch
extract-flows: $(DATA_READY)
	$(EXTRACT) --multirun

search: $(READY) ## Settings of a stage by Optuna: STAGE=hmdb51_flow
	$(BIN)/actionrec search experiment=$(STAGE) $(SETTINGS)

sweep: $(DATA_READY) ## A small multirun: learning rate by seed, on stage 1
	$(BIN)/actionrec train recipe=$(RECIPE) $(PATHS) experiment=stanford40_frame sweep=learning_rate $(ARGS)

report: $(READY) ## The table of the runs, and a page of all there is: outputs/<data>/report/index.html
	@$(BIN)/actionrec report $(PATHS) $(SHOWN)

tensorboard: $(READY) ## Show what the runs wrote
	$(BIN)/tensorboard --logdir $(CHAIN)
