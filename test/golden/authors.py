"""Loads the authors' solver code from checkouts given by path, and makes it run on a CPU without its data sets.

Their modules import each other by bare names (both SparseGPT's and GPTQ's have a `quant`), so each checkout is
imported with its own folder first in the path and its modules taken out of sys.modules afterwards.
"""
import contextlib
import importlib
import io
import re
import subprocess
import sys
import types

import numpy as np
import torch
import transformers
from transformers.pytorch_utils import Conv1D


def stand_in_for_the_gpu():
    torch.cuda.synchronize = lambda *_, **__: None
    torch.Tensor.cuda = lambda self, *_, **__: self
    transformers.Conv1D = Conv1D


def import_from(folder, names, stubs=()):
    """Imports modules of one checkout; `stubs` name packages it wants at import time only (data sets, logging)."""
    before = set(sys.modules)
    for stub in stubs:
        sys.modules.setdefault(stub, types.SimpleNamespace(load_dataset=None, __spec__=None))
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            module = sys.modules[name]
            origin = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "")
            if name in stubs or origin.startswith(str(folder)):
                del sys.modules[name]
    return found


def import_pruning(folder):
    """The pruning modules for LLaMA and OPT of Wanda or DSnoT, whose loaders of data the caller replaces."""
    return import_from(folder, ["lib.prune", "lib.prune_opt"], stubs=["datasets"])


def accumulating(wrapped_class):
    """DSnoT's statistics with the Hessian that its SparseGPT start needs: the published code allocates it and adds
    nothing to it. Summed as the solver of the same repository does."""
    class Accumulating(wrapped_class):
        def add_batch(self, inp, out):
            super().add_batch(inp, out)
            if self.initial_method == "sparsegpt":
                x = inp.reshape(-1, inp.shape[-1]).t().float()
                self.H *= (self.nsamples - 1) / self.nsamples
                self.H += 2 / self.nsamples * x.matmul(x.t())
    return Accumulating


def dsnot_arguments(initial, cycles, samples, sparsity=0.5, same_sign=False, skip_layer="no_skip"):
    return types.SimpleNamespace(
        nsamples=samples, seed=0, sparsity_ratio=sparsity, initial_method=initial, max_cycle_time=cycles,
        update_threshold=0.1, update_threshold_for_sum=0.1, pow_of_var_regrowing=1, skip_layer=skip_layer,
        skip_sub_layer="no_skip", without_DSnoT=False, without_same_sign=not same_sign, get_time_overhead=False)


def commit(folder):
    return subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True,
                          check=True).stdout.strip()


def recording(quantizer_class, mse=False):
    """A quantizer class that keeps each (scale, zero) it finds, in order, in the list `log` of the class."""
    class Recording(quantizer_class):
        log = []

        def configure(self, bits, **options):
            super().configure(bits, **{**options, "mse": mse})

        def find_params(self, x, weight=False):
            super().find_params(x, weight=weight)
            Recording.log.append((self.scale.flatten().clone(), self.zero.flatten().clone()))
    return Recording


def pack(values, bits):
    """Row-major values as one stream of bits, least significant bit first, padded with zeros to whole bytes."""
    stream = (values.reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")


def printed_error(run):
    """Runs `run` and returns the total loss that the authors' solver prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        run()
    return float(re.search(r"error (\S+)", text.getvalue()).group(1))


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def in_f64():
    """The authors' code with every f32 of it turned into f64: tells how far f32 rounding moves a result."""
    f32, to_float = torch.float32, torch.Tensor.float
    torch.float32, torch.Tensor.float = torch.float64, torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32, torch.Tensor.float = f32, to_float
        torch.set_default_dtype(torch.float32)
