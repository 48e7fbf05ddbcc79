# The front door over CMake and Ninja. Every target installs the Debian packages it misses.
BUILD ?= build
JOBS ?= $(shell nproc)
NVCC ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
CUDA_ARCH ?= 80-real

PACKAGES = g++ cmake ninja-build libopenblas-pthread-dev libeigen3-dev doctest-dev nlohmann-json3-dev libcli11-dev \
           libpcre2-dev zlib1g-dev libutf8proc-dev
CHECK_PACKAGES = clang-format-14 clang-tidy-14
FUZZ_PACKAGES = clang-14 libclang-rt-14-dev libfuzzer-14-dev

CONFIGURE = cmake -S . -G Ninja -DCMAKE_BUILD_TYPE=Release
COMPILE = cmake --build
CTEST = ctest --output-on-failure --test-dir

.PHONY: all deps demo test cuda bench check format asan tsan fuzz release gpu-check clean

all: deps
	$(CONFIGURE) -B $(BUILD)
	$(COMPILE) $(BUILD) -j $(JOBS) --target sinter

deps:
	@sh test/tools/deps.sh $(PACKAGES)

demo: all
	$(BUILD)/sinter demo --out $(BUILD)/demo --json $(BUILD)/demo.json

# All that needs no GPU. Where nvcc is present the CUDA back end is compiled and linked for one architecture too.
test: deps
	$(CONFIGURE) -B $(BUILD)
	$(COMPILE) $(BUILD) -j $(JOBS)
	$(if $(NVCC),$(MAKE) cuda,@echo "skipped: no nvcc, so the CUDA back end is not compiled")
	$(if $(NVCC),$(CTEST) $(BUILD)/cuda -R '^cuda$$')
	$(CTEST) $(BUILD) -L unit

cuda: deps
	$(CONFIGURE) -B $(BUILD)/cuda -DSINTER_CUDA=ON -DCMAKE_CUDA_COMPILER=$(NVCC) -DCMAKE_CUDA_ARCHITECTURES="$(CUDA_ARCH)"
	$(COMPILE) $(BUILD)/cuda -j $(JOBS) --target sinter test_cuda

bench: all
	$(BUILD)/sinter bench --json $(BUILD)/bench.json

# Format, tidy, layering, file sizes, killed and resumed runs. `make format` mends the first.
check: deps
	@sh test/tools/deps.sh $(CHECK_PACKAGES)
	$(CONFIGURE) -B $(BUILD)
	$(CTEST) $(BUILD) -L check

format:
	@sh test/tools/deps.sh $(CHECK_PACKAGES)
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' '*.inl' | xargs clang-format-14 -i

asan: deps
	$(CONFIGURE) -B $(BUILD)/asan -DSINTER_SANITIZE=address
	$(COMPILE) $(BUILD)/asan -j $(JOBS)
	$(CTEST) $(BUILD)/asan -L unit

tsan: deps
	$(CONFIGURE) -B $(BUILD)/tsan -DSINTER_SANITIZE=thread
	$(COMPILE) $(BUILD)/tsan -j $(JOBS) --target test_core test_ops
	$(CTEST) $(BUILD)/tsan -R "core|ops"

# A million mutations of every file that we read, and the libFuzzer targets for those who want to go on.
fuzz: deps
	@sh test/tools/deps.sh $(FUZZ_PACKAGES)
	$(CONFIGURE) -B $(BUILD)/fuzz -DSINTER_FUZZ=ON -DSINTER_SANITIZE=address -DCMAKE_CXX_COMPILER=clang++-14
	$(COMPILE) $(BUILD)/fuzz -j $(JOBS) --target test/fuzz/all
	$(BUILD)/fuzz/test/fuzz/fuzz_mutations 1000000

# One statically linked, stripped program that runs where there is nothing else.
release: deps
	$(CONFIGURE) -B $(BUILD)/release -DSINTER_STATIC=ON
	$(COMPILE) $(BUILD)/release -j $(JOBS) --target sinter
	sh test/tools/static.sh $(BUILD)/release/sinter

gpu-check: deps
	$(if $(NVCC),,$(error gpu-check needs nvcc))
	arch=$$(sh test/tools/gpu_check.sh --arch) && $(MAKE) cuda CUDA_ARCH="$$arch"
	sh test/tools/gpu_check.sh $(BUILD)/cuda

clean:
	rm -rf $(BUILD)
