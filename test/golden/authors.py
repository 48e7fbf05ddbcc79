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
            origin = getattr(sys.modules[name], "__file__", None)
            if name in stubs or (origin and origin.startswith(str(folder))):
                del sys.modules[name]
    return found


def import_wanda(folder):
    """Wanda's pruning module; its loader of calibration data is replaced by the `batches` of the caller."""
    (prune,) = import_from(folder, ["lib.prune"], stubs=["datasets"])
    return prune


def commit(folder):
    return subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True,
                          check=True).stdout.strip()


def recording(quantizer_class):
    """A quantizer class that keeps each (scale, zero) it finds, in order, in the list `log` of the class."""
    class Recording(quantizer_class):
        log = []

        def find_params(self, x, weight=False):
            super().find_params(x, weight=weight)
            Recording.log.append((self.scale.flatten().clone(), self.zero.flatten().clone()))
    return Recording


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
