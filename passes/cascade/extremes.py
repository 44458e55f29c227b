"""Tests of all elements against the least or the largest value become tests of one: the maximum or the minimum.

    E: bool[i:8, j:9] = X[i, j] == -inf
    A: bool[i:8] = any(j:9) !E[i, j]
      =>
    A.max: f32[i:8] = max(j:9) X[i, j]
    A: bool[i:8] = A.max[i] != -inf

The maximum is often there already, and no tensor of bytes is as large as X. A maximum is NaN if an element is, and NaN differs from
-inf as it should; of no elements it is -inf.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Statement
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Load, apply, constant
from tcomp.ir.walk import substitute

EXTREMES = {-math.inf: "max", math.inf: "min"}
"""The monoid that has a value as its identity."""

COMPARED = {"any": "ne", "all": "eq"}
"""What a reduction has to ask of each element: whether any differs from the value, or all equal it."""


def ask_extremes(cascade: Cascade) -> Cascade:
    """Replace tests of all elements by a test of an extreme; the same cascade if there are none."""
    maps: dict[str, Einsum] = {}
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    statements: list[Statement] = []
    for statement in cascade.statements:
        if isinstance(statement, Einsum):
            if statement.is_map and statement.dtype.kind == "bool":
                maps[statement.name] = statement
            statements += _split(statement, maps, dtypes)
        else:
            statements.append(statement)
    return cascade.with_statements(tuple(statements))


def _split(einsum: Einsum, maps: Mapping[str, Einsum], dtypes: dict[str, DType]) -> tuple[Einsum, ...]:
    """The extreme and what is asked of it; the einsum itself if it asks for something else."""
    compared = COMPARED.get(einsum.reduce or "")
    if compared is None or einsum.is_scatter or einsum.where is not None:
        return (einsum,)
    found = _find_test(einsum.expression, compared, maps)
    if found is None:
        return (einsum,)
    value, limit = found
    reduce = EXTREMES[float(limit.value)]
    name = f"{einsum.name}.{reduce}"
    if name in dtypes:
        return (einsum,)
    narrow = expression_dtype(value, dtypes)
    # Wide, as whoever else wants the extreme of narrow floats has it.
    dtype = dtypes[name] = compute_dtype(narrow)
    wide = value if narrow == dtype else Cast(dtype, value)
    extreme = replace(einsum, targets=((name, dtype),), expression=wide, reduce=reduce)
    test = apply(compared, Load(name, einsum.index), constant(limit.value, dtype))
    return extreme, replace(einsum, expression=test, reduce=None, reduced=())


def _find_test(expression: Expr, compared: str, maps: Mapping[str, Einsum]) -> tuple[Expr, Constant] | None:
    """(value, limit) of an expression that says whether a value is equal to a limit or differs from it, through maps that say so."""
    match expression:
        case Apply("not", (argument,)):
            return _find_test(argument, "eq" if compared == "ne" else "ne", maps)
        case Apply(operator, (value, Constant(limit) as constant_)) | Apply(operator, (Constant(limit) as constant_, value)):
            return (value, constant_) if operator == compared and constant_.dtype.is_float and limit in EXTREMES else None
        case Load(tensor, index, None) if tensor in maps:
            place = {str(slot.as_variable): i for slot, i in zip(maps[tensor].index, index)}
            return _find_test(substitute(maps[tensor].expression, place), compared, maps)
    return None
