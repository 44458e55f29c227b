"""Loading a module of generated kernels, for Triton's compiler or for its interpreter."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal

import triton
import triton.language as tl
from triton.runtime.interpreter import InterpretedFunction, TensorHandle

from tcomp.codegen.triton_sources import find_functions


def load_functions(path: Path, mode: Literal["jit", "interpret"]) -> dict[str, Any]:
    """The kernels of a module by name: as functions that Triton compiles, or that run in numpy on tensors of the CPU."""
    module = _load_module(path)
    functions = {name: f for name, f in vars(module).items() if isinstance(f, FunctionType)}
    helpers = find_functions()
    if mode == "interpret":
        # Functions that kernels call run as they are, since the interpreter replaces what they call in turn.
        for name, function in _interpreted(functions).items():
            setattr(module, name, function)
        return {name: InterpretedFunction(function) for name, function in functions.items() if name not in helpers}
    for name, function in functions.items():
        setattr(module, name, triton.jit(function))
    return {name: getattr(module, name) for name in functions if name not in helpers}


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tcomp_kernels_{path.stem}", path)
    assert spec is not None and spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _interpreted(functions: dict[str, FunctionType]) -> dict[str, Callable[..., Any]]:
    """What the interpreter runs in the place of some functions.

    It folds element by element, in Python, and multiplies the bits of bf16; so folds halve whole tensors here, and dots widen.
    """
    replaced: dict[str, Callable[..., Any]] = {}
    for name in functions:
        combine = functions.get(name.replace("fold_", "combine_"))
        if name.startswith("fold_") and combine is not None:
            replaced[name] = _halving_fold(combine)
    if "dot" in functions:
        replaced["dot"] = _widening_dot
    if "any_of" in functions:
        replaced["any_of"] = _any_of
    return replaced


def _halving_fold(combine: Callable[[Any, Any], Any]) -> Callable[[Any, int], Any]:
    def fold(x: Any, axis: int) -> Any:
        parts = [x.handle.data.take(position, axis) for position in range(x.handle.data.shape[axis])]
        while len(parts) > 1:
            half = len(parts) // 2
            joined = [combine(_tensor(a, x.dtype), _tensor(b, x.dtype)) for a, b in zip(parts[:half], parts[half:])]
            parts = [part.handle.data for part in joined]
        return _tensor(parts[0], x.dtype)

    return fold


def _tensor(data: Any, dtype: Any) -> Any:
    return tl.tensor(TensorHandle(data, dtype), tl.block_type(dtype, list(data.shape)) if data.shape else dtype)


def _widening_dot(a: Any, b: Any, total: Any, precision: str) -> Any:
    if a.dtype == tl.bfloat16:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=precision, out_dtype=total.dtype)


def _any_of(x: Any) -> Any:
    return bool(x.handle.data.any())
