"""Loading a module of generated kernels, for Triton's compiler or for its interpreter."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal

import triton

from tcomp.codegen.triton.interpreter import InterpretedKernel
from tcomp.codegen.triton.sources import find_functions


def load_functions(path: Path, mode: Literal["jit", "interpret"]) -> dict[str, Any]:
    """The kernels of a module by name: as functions that Triton compiles, or that run in numpy on tensors of the CPU."""
    module = _load_module(path)
    functions = {name: f for name, f in vars(module).items() if isinstance(f, FunctionType)}
    helpers = find_functions()
    if mode == "interpret":
        # Functions that kernels call run as they are: what they call of Triton is interpreted.
        return {name: InterpretedKernel(function) for name, function in functions.items() if name not in helpers}
    for name, function in functions.items():
        setattr(module, name, triton.jit(function))
    return {name: getattr(module, name) for name in functions if name not in helpers}


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tcomp_kernels_{path.stem}", path)
    assert spec is not None and spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
