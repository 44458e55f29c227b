"""Every operator on every dtype it takes, in lanes and in scalars, compiled and compared with the evaluator."""

import numpy
import pytest
from c_programs import Run, run_compiled

from tcomp.ir.dtypes import DTYPES
from tcomp.ir.evaluate_dtypes import round_float, storage
from tcomp.ir.operators import OPERATORS, TYPE_KINDS
from tcomp.ir.tile_evaluate import evaluate_kernel
from tcomp.ir.tile_parser import parse_kernel

SERVED = [name for name in DTYPES if name not in ("e4m3", "e5m2")]
COUNT = 35
"""Two full vectors of 16 lanes and three more elements."""

ABOVE_ONE = {"acosh"}
WITHIN_ONE = {"asin", "acos", "atanh", "erfinv"}
POSITIVE = {"log", "log2", "log10", "log1p", "sqrt", "rsqrt", "lgamma", "digamma", "pow"}
INTEGER_DIVISIONS = {"floordiv", "mod", "truncdiv", "fmod"}
SPECIAL = {"add", "sub", "mul", "div", "neg", "abs", "minimum", "maximum", "eq", "ne", "lt", "le", "gt", "ge", "select", "isnan",
           "isinf", "exp", "log", "sqrt", "tanh", "floor", "ceil", "round", "trunc", "copysign"}  # fmt: skip
ULPS = {"lgamma": 16, "digamma": 16, "erfinv": 16, "pow": 8, "tan": 8}
"""Units in the last place for functions near their zeros, and for those whose oracle rounds itself; 4 for the others."""


def make_inputs(operator, dtype, random):
    """The argument arrays: values in the operator's domain, and for the arithmetic ones infinities, NaN and signed zeros."""
    held = storage(dtype)
    arrays = []
    for position in range(OPERATORS[operator].arity):
        if operator == "select" and position == 0:
            arrays.append(random.random(COUNT) < 0.5)
            continue
        if dtype.kind == "bool":
            arrays.append(random.random(COUNT) < 0.5)
            continue
        if dtype.kind == "int":
            low, high = (-60, 60) if dtype.signed else (0, 120)
            if operator in ("shl", "shr", "pow") and position == 1:
                low, high = 0, 4
            values = random.integers(low, high, COUNT)
            if operator in INTEGER_DIVISIONS and position == 1:
                values = numpy.where(values == 0, 7, values)
            arrays.append(values.astype(held))
            continue
        values = random.standard_normal(COUNT) * 3
        if operator in WITHIN_ONE:
            values = random.uniform(-0.99, 0.99, COUNT)
        elif operator in ABOVE_ONE:
            values = 1 + abs(values)
        elif operator in POSITIVE:
            values = 0.01 + abs(values)
        if operator in SPECIAL:
            values[:6] = [numpy.inf, -numpy.inf, numpy.nan, 0.0, -0.0, 1.0]
            if position == 1:
                values[:6] = values[[2, 0, 1, 4, 3, 5]]
        arrays.append(round_float(values.astype(held), dtype) if dtype.bits < 32 else values.astype(held))
    return arrays


def operators_of(dtype):
    return [row for row in OPERATORS.values() if dtype.kind in TYPE_KINDS[row.types]]


def make_kernel(row, dtype):
    """One kernel that applies an operator in lanes (V) and, once more, element by element (S)."""
    kinds = ["bool" if row.name == "select" and p == 0 else dtype.name for p in range(row.arity)]
    result = "bool" if row.result == "bool" else dtype.name

    def spelled(index):
        names = [f"A{p}[{index}]" for p in range(row.arity)]
        if row.infix and row.arity == 2:
            return f"{names[0]} {row.infix} {names[1]}"
        return f"{row.infix}{names[0]}" if row.infix else f"{row.name}({', '.join(names)})"

    inputs = ", ".join(f"in A{p}: {kind}[{COUNT}]" for p, kind in enumerate(kinds))
    return parse_kernel(f"""
        kernel {row.name}_{dtype.name}({inputs}, out V: {result}[{COUNT}], out S: {result}[{COUNT}]) {{
          V[i.0] over (i.0:{COUNT}) = {spelled("i.0")}
          for i in 0 .. {COUNT} {{
            S[i] over () = {spelled("i")}
          }}
        }}
    """)


@pytest.mark.parametrize("name", SERVED)
def test_operators(name, tmp_path):
    dtype = DTYPES[name]
    random = numpy.random.default_rng(0)
    runs, expected = [], []
    for row in operators_of(dtype):
        kernel = make_kernel(row, dtype)
        arrays = {f"A{p}": array for p, array in enumerate(make_inputs(row.name, dtype, random))}
        for target in kernel.arguments[row.arity :]:
            arrays[target.name] = numpy.zeros(COUNT, storage(target.dtype))
        runs.append(Run(kernel, arrays))
        oracle = {n: a.copy() for n, a in arrays.items()}
        evaluate_kernel(kernel, oracle)
        expected.append(oracle)
    run_compiled(runs, tmp_path)
    faults = []
    for row, run, oracle in zip(operators_of(dtype), runs, expected):
        for target in "VS":
            tolerance = ULPS.get(row.name, 4) * dtype.epsilon if dtype.is_float and row.result == "same" and row.cost > 1 else 0
            try:
                numpy.testing.assert_allclose(
                    run.arrays[target].astype(float), oracle[target].astype(float), rtol=tolerance, atol=tolerance
                )
            except AssertionError as error:
                faults.append(f"{row.name} {target}: {str(error).strip()}")
    assert not faults, "\n".join(faults)
