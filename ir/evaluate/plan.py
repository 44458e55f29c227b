"""The meaning of a plan, executed: its kernels one by one on bytes, through the evaluator of tile programs.

It is the oracle of drivers and of arena placement: kernels see the memory that the plan's places say, so a tensor placed over
another that a later kernel reads gives wrong numbers here as it would in C.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.arrays import Array, decode, encode
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.expressions import Index
from tcomp.ir.expressions import as_index as number
from tcomp.ir.plan import ARENA, Plan
from tcomp.ir.tile import Argument, Kernel, span_bytes
from tcomp.ir.walk import index_variables, substitute_index


def evaluate_plan(
    plan: Plan, kernels: Mapping[str, Kernel], externals: Mapping[str, Array], symbols: Mapping[str, int] | None = None
) -> None:
    """Run a plan on external memory, one writable array of bytes (uint8) for each external tensor.

    Raises VerifyError for a kernel or external that is missing, a place outside its memory, and what `evaluate_kernel` refuses.
    """
    values = dict(symbols or {})
    memory = dict(externals)
    for name in plan.externals:
        if name not in memory:
            raise VerifyError(f"external {name} has no memory", where="plan", help="pass an array of bytes for every external")
    memory[ARENA] = numpy.full(_value(plan.arena, values), 0xFF, numpy.uint8)
    for step in plan.steps:
        kernel = kernels.get(step.kernel)
        if kernel is None:
            raise VerifyError(f"there is no kernel {step.kernel}", where="plan", help="pass every kernel that the plan calls")
        arrays: dict[str, Array] = {}
        for argument, place in zip(kernel.arguments, step.places, strict=True):
            start, size = _value(place.offset, values), _reach(argument, values)
            base = memory[place.base]
            if start < 0 or start + size > base.size:
                raise VerifyError(
                    f"{argument.name} takes bytes {start} to {start + size} of {place.base}, which has {base.size}",
                    where=f"step of {step.kernel}",
                )
            arrays[argument.name] = decode(base[start : start + size], argument.dtype)
        used = {symbol.name: values[symbol.name] for symbol in kernel.symbols}
        evaluate_kernel(kernel, arrays, used)
        for argument, place in zip(kernel.arguments, step.places):
            if argument.role != "in":
                start = _value(place.offset, values)
                data = encode(arrays[argument.name], argument.dtype)
                memory[place.base][start : start + data.size] = data


def _value(index: Index, symbols: Mapping[str, int]) -> int:
    value = substitute_index(index, {name: number(symbols[name]) for name in index_variables(index)})
    assert value.is_constant, f"{index} is not over symbols"
    return value.constant


def _reach(argument: Argument, symbols: Mapping[str, int]) -> int:
    """Bytes from the first element of an argument to the end of its last."""
    shape, strides = ([number(_value(size, symbols)) for size in sizes] for sizes in (argument.shape, argument.strides))
    return span_bytes(argument.dtype, shape, strides).constant
