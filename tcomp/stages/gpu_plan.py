"""From a plan and its tile programs to a Triton library: kernels as source on disk, and the steps that start them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tcomp.codegen.checks import find_checks
from tcomp.codegen.launch import instances
from tcomp.codegen.triton.files import build_module
from tcomp.codegen.triton.kernel import TritonOptions, TritonUnit, triton_unit
from tcomp.ir.expressions import ONE
from tcomp.ir.plan import Matrix, MatrixProduct, Plan, Step
from tcomp.ir.target import Gpu
from tcomp.ir.tile import Kernel
from tcomp.options import Precision
from tcomp.program.kernels import Check, KernelStep, LibraryStep, TensorPlace, TritonKernel, TritonLibrary, TritonStep

_PRINTING = threading.Lock()


def plan_library(
    plan: Plan,
    kernels: Mapping[str, Kernel],
    products: Mapping[str, MatrixProduct],
    checks: tuple[Check, ...],
    target: Gpu,
    options: TritonOptions,
    cache_directory: Path,
) -> TritonLibrary:
    """Print the kernels that a plan calls, each into a module of its own, which programs with the same kernel share.

    In the place of a kernel among `products` PyTorch's library computes. `checks` are those of all steps in order.
    Raises ToolchainError where the cache cannot be used.
    """
    units: list[TritonUnit] = []
    names: list[list[str]] = []
    numbers: dict[Kernel, int] = {}
    steps: list[TritonStep] = []
    first_check = 0
    for step in plan.steps:
        kernel = kernels[step.kernel]
        if step.kernel in products:
            steps.append(_call_library(step, products[step.kernel]))
            continue
        # Kernels that do the same share one, whatever they are called.
        number = numbers.setdefault(replace(kernel, name="kernel"), len(units))
        if number == len(units):
            # Printing parses Python the first time, which two threads at once must not do in some versions of Python.
            with _PRINTING:
                units.append(triton_unit(kernel, options))
            names.append([])
        if step.kernel not in names[number]:
            names[number].append(step.kernel)
        steps.append(KernelStep(number, step.places, instances(kernel), first_check))
        first_check += len(find_checks(kernel))
    return TritonLibrary(
        kernels=tuple(TritonKernel(tuple(known), unit, build_module([unit], cache_directory)) for known, unit in zip(names, units)),
        steps=tuple(steps),
        externals=plan.externals,
        symbols=tuple(symbol.name for symbol in plan.symbols),
        arena=plan.arena,
        checks=checks,
        target=target,
        precision=options.precision,
    )


def _call_library(step: Step, product: MatrixProduct) -> LibraryStep:
    """A product of matrices, or of batches of them where there are several."""
    is_single = product.out.shape[0] == ONE

    def place(matrix: Matrix) -> TensorPlace:
        first = int(is_single)
        return TensorPlace(step.places[matrix.argument], product.dtype, matrix.shape[first:], matrix.strides[first:])

    return LibraryStep(step.kernel, "mm" if is_single else "bmm", (place(product.left), place(product.right)), place(product.out))


def choose_options(precision: Precision) -> TritonOptions:
    """How to print kernels; "auto" follows what PyTorch has been told about products of f32 matrices."""
    if precision == "auto":
        return TritonOptions("tf32" if _allows_tf32() else "tf32x3")
    return TritonOptions(precision)


def _allows_tf32() -> bool:
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:
        # PyTorch refuses to answer this way where its newer switch has been set.
        return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")
