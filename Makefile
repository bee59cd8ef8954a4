# make demo       environment, synthetic dataset, training, evaluation, export and predictions
# make test       runs the test suite; make test-slow: the end-to-end checks that make test skips; make test-faults: those of
#                 them that injure a run (docs/reliability.md), some of which need root
# make audit      asks PyPI for known vulnerabilities of the versions in constraints.txt
# make overfit    overfits the images of COCO_SAMPLE: an end-to-end check of training
# make tpu-compiler   creates the environment of trainer/benchmark.py --compile_for
# make venv       creates the environment only; make lint: checks style; make protos: generates protos/*_pb2.py
# Finished steps are skipped; to repeat them, delete runs/demo, runs/overfit or .venv.

PYTHON ?= python3
# Folder with input_images/, panoptic_examples.json and panoptic_examples/ (COCO's own sample of the panoptic format).
COCO_SAMPLE ?=

BIN := .venv/bin
VENV := .venv/.installed
DEMO := runs/demo
OVERFIT := runs/overfit
PROTOC := build/protoc
AUDIT := build/audit
TPU_COMPILER := build/tpu_compiler

.DELETE_ON_ERROR:
.PHONY: venv demo test test-slow test-faults audit overfit tpu-compiler protos lint

venv: $(VENV)

# Debian and Ubuntu split ensurepip off: there, pip comes from the pip of $(PYTHON), if it has one.
$(VENV): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv >/dev/null 2>&1 \
	  || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; } \
	  || { echo "error: $(PYTHON) cannot make an environment with pip: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: $(DEMO)/pictures/.done
	@echo "pictures: $(DEMO)/pictures   model: $(DEMO)/saved_model   scores: $(DEMO)/model/eval/metrics.json"

$(DEMO)/data/scenes.json: | $(VENV)
	$(BIN)/python data/build_scenes.py --output_dir=$(DEMO)/data

# train.py writes `finished` at the last step, not when it is interrupted.
$(DEMO)/model/finished: $(DEMO)/data/scenes.json | $(VENV)
	$(BIN)/python trainer/train.py --config_file=configs/demo/scenes.textproto --mode=train_and_eval --model_dir=$(DEMO)/model
	@test -f $@

$(DEMO)/saved_model/.done: $(DEMO)/model/finished | $(VENV)
	$(BIN)/python trainer/export.py --config_file=configs/demo/scenes.textproto --checkpoint=$(DEMO)/model \
	  --output_dir=$(DEMO)/saved_model
	@touch $@

$(DEMO)/pictures/.done: $(DEMO)/saved_model/.done | $(VENV)
	$(BIN)/python trainer/predict.py --model=$(DEMO)/saved_model --images='$(DEMO)/data/val/*.jpg' --output_dir=$(DEMO)/pictures
	@touch $@

# Two processes: tracing, which takes most of the time, uses one core. In parts, because TensorFlow keeps the graphs of models
# in memory for as long as a process lives. tests/conftest.py orders the files.
TEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

test: $(VENV)
	$(TEST) tests/trainer --ignore=tests/trainer/training
	$(TEST) tests/trainer/training
	$(TEST) --ignore=tests/trainer

test-slow: $(VENV)
	$(BIN)/python -m pytest -m slow

test-faults: $(VENV)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow tests/trainer/faults --durations=10 -rA

# Strict: a version that PyPI does not know, or cannot be asked about, is no success.
audit: $(AUDIT)/.installed
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

$(AUDIT)/.installed: | $(VENV)
	$(BIN)/python -m venv --without-pip $(AUDIT)
	$(BIN)/python -m pip --python $(AUDIT)/bin/python install --quiet 'pip-audit>=2.7,<3'
	@touch $@

overfit: $(OVERFIT)/model/finished

$(OVERFIT)/data/.done: | $(VENV)
	@test -n "$(COCO_SAMPLE)" || { echo "error: make overfit COCO_SAMPLE=DIR, see the Makefile" >&2; exit 1; }
	$(BIN)/python data/build_coco.py --images_dir=$(COCO_SAMPLE)/input_images \
	  --panoptic_json=$(COCO_SAMPLE)/panoptic_examples.json --panoptic_dir=$(COCO_SAMPLE)/panoptic_examples \
	  --split=train --num_shards=1 --output_dir=$(OVERFIT)/data
	@touch $@

$(OVERFIT)/model/finished: $(OVERFIT)/data/.done | $(VENV)
	$(BIN)/python trainer/train.py --config_file=configs/coco/kmax_r50_overfit.textproto --mode=train_and_eval \
	  --model_dir=$(OVERFIT)/model
	@test -f $@

# protoc of protobuf 4.25: the code of newer ones refuses to run with an older protobuf.
$(PROTOC)/.installed: | $(VENV)
	$(BIN)/python -m venv --without-pip $(PROTOC)
	$(BIN)/python -m pip --python $(PROTOC)/bin/python install --quiet 'grpcio-tools==1.62.*' 'setuptools<81'
	@touch $@

protos: $(PROTOC)/.installed
	$(PROTOC)/bin/python -m grpc_tools.protoc -I. --python_out=. protos/*.proto

$(TPU_COMPILER)/.installed: trainer/measure/tpu_compiler.txt | $(VENV)
	$(BIN)/python -m venv --without-pip $(TPU_COMPILER)
	$(BIN)/python -m pip --python $(TPU_COMPILER)/bin/python install --quiet -r $<
	@touch $@

tpu-compiler: $(TPU_COMPILER)/.installed

lint: $(VENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
