# Two commands on a fresh machine: `make demo` and `make test`. Both may be run again.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/digits
STORIES := runs/stories_demo
# Huge pages: a training step on the CPU spends a fifth of its time on page faults otherwise.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: demo test lint clean

demo: .venv/installed
	$(BIN)/python train_flow.py --config=configs/digits.py --workdir $(DEMO)
	$(BIN)/python train_classifier.py --dataset_name digits --out runs/features/digits.npz
	$(BIN)/python generate.py --load_dir $(DEMO) --classes 0-9 --num_samples 100
	$(BIN)/python eval_fid.py --load_dir $(DEMO) --features runs/features/digits.npz
	$(BIN)/python train_text.py --config=configs/stories.py --max_steps 900 --sampler.denoise_timesteps 128 --sampler.rounds 2 --workdir $(STORIES)
	$(BIN)/python eval_text.py --load_dir $(STORIES) --rows 512
	$(BIN)/python generate.py --load_dir $(STORIES) --prompt "Once upon a time there was" --num_samples 3
	@echo "Look at $(DEMO)/generated/grid.png and denoising.gif; numbers are in $(DEMO)/score.json, the log in $(DEMO)/metrics.jsonl"
	@echo "Stories are in $(STORIES)/samples and generated/samples.txt, their numbers in text_score.json"
	@echo "Watch one being written: $(BIN)/python generate.py --load_dir $(STORIES) --watch"

test: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable .
	touch $@

# torch by itself and first, in the version that the tests were written against; what scores are
# held against without what it would pull in.
.venv/tested: .venv/installed
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[test,torch]'
	$(BIN)/pip install --quiet --no-deps torchvision==0.28.0 pytorch-fid torch-fidelity clean-fid
	touch $@

# What the tests of gs:// and of Vertex AI's jobs are held against, 400 MB; they skip without it.
.venv/cloud: .venv/tested
	$(BIN)/pip install --quiet --editable '.[cloud]' gcp-storage-emulator
	touch $@

lint: .venv/tested
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv runs
