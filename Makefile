# One word a job. Every target does all the set-up that it needs; set-up and build take seconds when nothing is to be done.
.PHONY: bench-craft help setup build modules demo example-text example-images test test-asan test-tsan test-faults fuzz fuzz-models lint format tidy docs wheel test-install test-examples test-matrix bench-fit bench-step bench-collective bench-recovery bench-hosts bench-ingest bench-transform bench-strategies bench-keras bench-transfer bench-against conformance clean
.DEFAULT_GOAL := help

VENV_PYTHON := . .venv/env.sh && python

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## packages, JDK, .venv
	@scripts/setup.sh

build: setup ## the release build, installed in place into python/stoker
	@scripts/build.sh release

modules: setup ## of it what Python needs, without the C++ tests
	@scripts/build.sh release modules

demo: modules ## trains on MNIST and shows what came out
	@$(VENV_PYTHON) examples/mnist.py

example-text: modules ## a pretrained text encoder of PyPI on 600 film reviews, beside a bag of words
	@$(VENV_PYTHON) examples/transfer_text.py

example-images: modules ## a pretrained image network of PyPI on 100 pictures, beside a histogram of colours
	@$(VENV_PYTHON) examples/transfer_images.py

test: build ## every check: arrows, C++ tests (also under sanitizers), Python and Spark tests
	@scripts/test.sh

test-asan test-tsan: setup
	@scripts/sanitize.sh $(@:test-%=%)

test-faults: build ## deaths of every kind: the protocol's simulator, faults planted in it, long work at each point (WAITS="--points meet"), 200 schedules in Spark (FAULTS="--to 20"), 50 of restarts with the driver elsewhere (RESTARTS="--to 5"), 40 of strategies and lent rows (STRATEGIES="--to 4"), 60 of what follows scores and callbacks, of exact batch norms, L-BFGS, Adafactor, bf16 and rounded sums (EVALUATIONS="--to 4"), clusters (CLUSTERS="--times 1")
	@. .venv/env.sh && tests/simulator/run.sh
	@. .venv/env.sh && PYTHONPATH=tests python -c "from faults.waits import main; raise SystemExit(main())" $(WAITS)
	@$(VENV_PYTHON) tests/faults $(FAULTS)
	@$(VENV_PYTHON) tests/faults/restarts.py $(RESTARTS)
	@$(VENV_PYTHON) tests/faults/strategies.py $(STRATEGIES)
	@$(VENV_PYTHON) tests/faults/evaluations.py $(EVALUATIONS)
	@$(VENV_PYTHON) tests/faults/clusters.py $(CLUSTERS)

fuzz: setup ## what broken peers send and what broken batches hold, by libFuzzer (FUZZ=600 seconds for each reader; default 10)
	@tests/fuzz/run.sh $(FUZZ)

fuzz-models: modules ## generated models and losses against eager PyTorch (FUZZ=3600 seconds, default 60; FUZZ_SEED=7)
	@. .venv/env.sh && PYTHONPATH=tests python -m fuzz_models $(if $(FUZZ),--seconds $(FUZZ)) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

lint: setup ## ruff, clang-format, hadolint, arrows, types, stubs, licences
	@scripts/lint.sh

format: setup ## puts right what the linters can put right
	@. .venv/env.sh; python scripts/stubs.py; ruff check -q --fix .; ruff format -q .; git ls-files '*.cc' '*.h' | xargs -r clang-format -i

tidy: setup ## clang-tidy over the engine (slow; needs Debian's clang-tidy)
	@scripts/build.sh dev
	@git ls-files 'engine/*.cc' 'bindings/*.cc' | xargs -r -n 1 -P 2 clang-tidy -p build/dev --quiet

docs: modules ## the documentation: build/site/index.html
	@$(VENV_PYTHON) scripts/docs.py

wheel: setup ## dist/stoker-*.whl
	@scripts/wheel.sh dist
	@$(VENV_PYTHON) scripts/check_symbols.py dist/stoker-*.whl

test-install: wheel ## a clean Debian root installs the wheel, trains and follows the pages; faults in real executors; packages as an archive; what test-examples does (TWICE=1: the wheel built again in another folder, and compared)
	@scripts/test_install.sh

test-examples: wheel ## of examples/: the notebook by Jupyter's kernel, the DAG by Airflow's dag.test(), the Dockerfile by a builder without a daemon (EXAMPLES=notebook chooses)
	@scripts/test_examples.sh $(EXAMPLES)

test-matrix: wheel ## a short selection on each Python x Spark x JDK that is here, and with each switch of Spark's (MATRIX="3.11/4.0" chooses)
	@$(VENV_PYTHON) scripts/test_matrix.py $(MATRIX)

bench-fit: modules ## whole fits against TorchDistributor and plain PyTorch (BENCH="--quick mnist" chooses)
	@$(VENV_PYTHON) bench/fit.py $(BENCH)

bench-step: modules ## one worker's step against PyTorch eager
	@$(VENV_PYTHON) bench/step.py $(BENCH)

bench-collective: modules ## sums between processes of one host against gloo
	@$(VENV_PYTHON) bench/collective.py $(BENCH)

bench-recovery: modules ## what readiness for deaths costs, and coming back from them
	@$(VENV_PYTHON) bench/recovery.py $(BENCH)

bench-hosts: modules ## sums and strategies between two hosts over a link of 10 and of 1 Gbit/s, against gloo and all-reduce
	@$(VENV_PYTHON) bench/hosts.py $(BENCH)

bench-ingest: modules ## from Parquet files to the engine's store against draining mapInArrow into nothing; JPEG files to pixels against Pillow
	@$(VENV_PYTHON) bench/ingest.py $(BENCH)

bench-strategies: modules ## how far local steps come against all-reduce, and what they send
	@$(VENV_PYTHON) bench/strategies.py $(BENCH)

bench-keras: modules ## a worker's step against keras.fit on torch and on TensorFlow, one thread; Elephas' example beside Elephas; compiling MobileNetV2
	@. .venv/env.sh && PYTHONPATH=tests python bench/keras_step.py $(BENCH)

bench-transfer: modules ## ten epochs of a head on a frozen MobileNetV2, its trunk run once for each picture or in each step
	@$(VENV_PYTHON) bench/transfer.py

conformance: modules ## layers of Keras beside Keras itself; writes docs/keras-layers.md; whole fits of Keras models on TensorFlow and JAX (BACKENDS=jax chooses)
	@. .venv/env.sh && cd tests && python -m conformance.keras_layers && python -m conformance.backends $(BACKENDS)

bench-craft: modules ## what large batches cost in accuracy, how long L-BFGS takes beside MLlib, what evaluation costs
	@$(VENV_PYTHON) bench/craft.py $(BENCH)

bench-transform: modules ## model.transform against an iterator pandas UDF of the same torch module
	@$(VENV_PYTHON) bench/transform.py $(BENCH)

bench-against: modules ## an older build beside this one (BENCH="../old 3 bench/step.py --quick mlp")
	@$(VENV_PYTHON) bench/against.py $(BENCH)

clean: ## what was built; .venv and the cached data set stay
	@rm -rf build dist python/stoker/lib python/stoker/*.so
