# The stages: each target trains its stage after those that it starts from, as conf/chain/ says. A run that is finished
# with the same settings and parents is left as it is; another run in its place is an error, unless
# ARGS=overwrite=true or TAG=<name> is given.
#   make two-stream DATA=real SPLIT=2 SEED=1 RECIPE=strong TAG=short ARGS='trainer.max_epochs=3'

DATA ?= demo
CHAIN ?= two_stream
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
VARIABLES := DATA CHAIN SPLIT SEED RECIPE TAG
$(foreach name,$(VARIABLES) SPLITS SEEDS,$(foreach each,$(UNSAFE),$(if $(findstring $(each),$(value $(name))),$(if $(filter $(origin $(name)),command environment),$(error $(name)='$(value $(name))': use letters, digits, - and _)))))
$(foreach name,$(VARIABLES),$(if $(word 2,$($(name))),$(error $(name)='$($(name))': one word without blanks; several splits and seeds: make crossval SPLITS='1 2' SEEDS='0 1')))

# ARGS may say anything that Hydra takes, so where it names one of these, the rules follow it.
override_of = $(or $(lastword $(patsubst $(1)=%,%,$(filter $(1)=%,$(ARGS)))),$(2))
NAME := $(call override_of,paths.name,$(DATA))
OUTPUTS := $(call override_of,paths.outputs,outputs)
RUN_TAG := $(filter-out null,$(call override_of,tag,$(TAG)))

BIN := $(VENV)/bin
READY := $(VENV)/.installed
RUNS := $(OUTPUTS)/$(NAME)
DEMO := $(OUTPUTS)/demo/data/demo.json

# What the report shows closely, where the command line says it; else the first chain that there is.
SHOWN = $(strip $(if $(filter command environment,$(origin CHAIN)),chain=$(CHAIN)) $(if $(filter command,$(origin SPLIT)),split=$(SPLIT)) \
  $(if $(filter command,$(origin SEED)),seed=$(SEED)) $(if $(RUN_TAG),tag=$(RUN_TAG)))

PATHS = paths=$(DATA) paths.name=$(NAME) paths.outputs=$(OUTPUTS)
JHMDB = paths=real paths.name=jhmdb paths.outputs=$(OUTPUTS)
TAGS = $(if $(RUN_TAG),tag=$(RUN_TAG) parent_tag=$(RUN_TAG))
CHOSEN = recipe=$(RECIPE) $(PATHS) split=$(SPLIT) seed=$(SEED) $(TAGS)
SETTINGS = $(CHOSEN) $(ARGS)
# STILLS_ARGS stand in place of ARGS where the stages on stills differ from those on clips, such as in their actions.
EACH = $(if $(filter file,$(origin STILLS_ARGS)),$(ARGS),$(if $(ARGS),--clips $(ARGS)) $(if $(STILLS_ARGS),--stills $(STILLS_ARGS)))
TRAIN = $(BIN)/actionrec chain chain=$(CHAIN) $(CHOSEN)
UPTO = $(TRAIN) upto=$(subst -,_,$@) $(EACH)
TRAIN_STILLS = $(BIN)/actionrec train $(CHOSEN) $(STILLS_ARGS) experiment=stanford40_frame
STUDY = $(BIN)/actionrec train recipe=$(RECIPE) $(PATHS) split=$(SPLIT) $(ARGS) $(STUDY_ARGS)
STUDIES := frame-position augmentation schedule fusion flow initialisation backbone image-size
STAGE ?= stanford40_frame
STUDY_FLOWS ?= dis_balanced,farneback
EXTRACT = $(BIN)/actionrec extract_flow $(SETTINGS)
DATA_READY = $(READY) $(if $(filter demo,$(DATA)),$(DEMO))

# A list as Hydra sweeps over it.
empty :=
comma := ,
swept = $(subst $(empty) $(empty),$(comma),$(strip $(1)))

.DEFAULT_GOAL := help
.PHONY: extract-flows help install demo test lint benchmark clean all data flow stanford40-frame hmdb51-frame hmdb51-flow two-stream \
  two-stream-conv stills-from-scratch fusion crossval jhmdb sweep search report app tensorboard $(addprefix study-,$(STUDIES))

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | awk -F'\t' '{printf "  %-18s%s\n", $$1, $$2}'
	@echo
	@echo "  study-NAME of: $(STUDIES)"
	@echo "  DATA=demo|real|<conf/paths file>  CHAIN=<conf/chain file>  SPLIT=1|2|3  SEED=0…  RECIPE=reference|strong|demo  TAG=<name of runs>  ARGS='<Hydra overrides>'"

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
	$(BIN)/python -m benchmarks.predict

clean: ## Remove caches and what the demo made; runs on other data stay
	rm -rf outputs/demo .mypy_cache .ruff_cache .pytest_cache
	find actionrec benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

all: $(DATA_READY) ## All four stages, and their report
	$(TRAIN) report=true $(EACH)

data: $(DATA_READY) ## Generate the demo set (DATA=demo)
$(DEMO): | $(READY)
	$(BIN)/actionrec prepare dataset=demo $(PATHS)

flow: $(DATA_READY) ## Extract the optical flow
	$(EXTRACT)

stanford40-frame: $(DATA_READY) ## Stage 1: stills
	$(UPTO)

hmdb51-frame: $(DATA_READY) ## Stage 2: frames of clips, from stage 1
	$(UPTO)

hmdb51-flow: $(DATA_READY) ## Stage 3: optical flow of clips
	$(UPTO)

two-stream: $(DATA_READY) ## Stage 4: frames and flow, from stages 2 and 3; the whole of CHAIN
	$(TRAIN) $(EACH)

two-stream-conv: $(DATA_READY)
	$(TRAIN) upto=hmdb51_two_stream_conv $(EACH)

fusion: $(DATA_READY) ## Fusions of the streams' scores, and trained ones, as a table
	$(TRAIN) fuse=true $(EACH)

crossval: $(DATA_READY) ## The chain and its fusions over SPLITS and SEEDS, each split from its own parents; goes on where it was
	$(BIN)/actionrec chain --multirun chain=$(CHAIN) recipe=$(RECIPE) $(PATHS) $(TAGS) split=$(call swept,$(SPLITS)) \
	  seed=$(call swept,$(SEEDS)) fuse=true $(EACH)
	@$(MAKE) --no-print-directory report

jhmdb: $(READY) ## J-HMDB by the best recipe: three streams, fusions of two and of three, over SPLITS and SEEDS
	$(BIN)/actionrec chain --multirun chain=jhmdb_three_streams recipe=best $(JHMDB) $(TAGS) backbone=efficientnet_lite0 data.actions=all \
	  split=$(call swept,$(SPLITS)) seed=$(call swept,$(SEEDS)) fuse=true $(ARGS)
	@$(BIN)/actionrec report $(JHMDB)

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
	$(TRAIN_STILLS) backbone.weights=null run_dir=$(RUNS)/sweeps/initialisation/stanford40_from_scratch
extract-flows: $(DATA_READY)
	$(EXTRACT) --multirun

search: $(READY) ## Settings of a stage by Optuna: STAGE=hmdb51_flow
	$(BIN)/actionrec search experiment=$(STAGE) $(SETTINGS)

sweep: $(DATA_READY) ## A small multirun: learning rate by seed, on stage 1
	$(BIN)/actionrec train recipe=$(RECIPE) $(PATHS) experiment=stanford40_frame sweep=learning_rate $(ARGS)

report: $(READY) ## The table of the runs, and a page of all there is: outputs/<data>/report/index.html
	@$(BIN)/actionrec report $(PATHS) $(SHOWN)

app: $(READY) ## Serve a page on which the finished runs predict videos
	$(BIN)/actionrec app paths.outputs=$(OUTPUTS) $(ARGS)

tensorboard: $(READY) ## Show what the runs wrote
	$(BIN)/tensorboard --logdir $(RUNS)
