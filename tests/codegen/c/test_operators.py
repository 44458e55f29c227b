"""Every operator on every dtype it takes, in lanes and in scalars, compiled and compared with the evaluator."""

import numpy
import pytest
from c_programs import Run, run_compiled

from tcomp.codegen.c.operators import SPELLINGS, Spelling
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.evaluate.arrays import round_float, storage
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.operators import OPERATORS, TYPE_KINDS
from tcomp.ir.parse.tile import parse_kernel

SERVED = [name for name in DTYPES if name not in ("e4m3", "e5m2")]
COUNT = 35
"""Two full vectors of 16 lanes and three more elements."""
GROUP = 10
"""Operators in one kernel: few enough that C accepts its parameters, enough that little time goes to reading headers."""

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


def make_kernel(rows, dtype):
    """One kernel that applies each operator in lanes (V) and, once more, element by element (S)."""
    parameters, lanes, scalars = [], [], []
    for row in rows:
        result = "bool" if row.result == "bool" else dtype.name
        for p in range(row.arity):
            parameters.append(f"in {row.name}.{p}: {'bool' if row.name == 'select' and p == 0 else dtype.name}[{COUNT}]")
        parameters += [f"out {row.name}.V: {result}[{COUNT}]", f"out {row.name}.S: {result}[{COUNT}]"]
        lanes.append(f"{row.name}.V[i.0] over (i.0:{COUNT}) = {spell(row, 'i.0')}")
        scalars.append(f"{row.name}.S[i] over () = {spell(row, 'i')}")
    body = "\n".join([*lanes, f"for i in 0 .. {COUNT} {{", *scalars, "}"])
    return parse_kernel(f"kernel operators_{dtype.name}({', '.join(parameters)}) {{\n{body}\n}}")


def spell(row, index):
    names = [f"{row.name}.{p}[{index}]" for p in range(row.arity)]
    if row.infix and row.arity == 2:
        return f"{names[0]} {row.infix} {names[1]}"
    return f"{row.infix}{names[0]}" if row.infix else f"{row.name}({', '.join(names)})"


def make_run(rows, dtype, random):
    """A kernel with its arrays, and what the evaluator makes of them."""
    kernel = make_kernel(rows, dtype)
    arrays = {}
    for row in rows:
        for p, array in enumerate(make_inputs(row.name, dtype, random)):
            arrays[f"{row.name}.{p}"] = array
    for argument in kernel.arguments:
        if argument.role == "out":
            arrays[argument.name] = numpy.zeros(COUNT, storage(argument.dtype))
    oracle = {name: array.copy() for name, array in arrays.items()}
    evaluate_kernel(kernel, oracle)
    return Run(kernel, arrays), oracle


@pytest.mark.parametrize("name", SERVED)
def test_operators(name, tmp_path):
    dtype, random = DTYPES[name], numpy.random.default_rng(0)
    table = operators_of(dtype)
    runs = [make_run(table[start : start + GROUP], dtype, random) for start in range(0, len(table), GROUP)]
    assert run_compiled([run for run, _ in runs], tmp_path) == 0
    found = {name: array for run, _ in runs for name, array in run.arrays.items()}
    expected = {name: array for _, oracle in runs for name, array in oracle.items()}
    faults = []
    for row in table:
        is_rounded = dtype.is_float and row.result == "same" and row.cost > 1
        tolerance = ULPS.get(row.name, 4) * dtype.epsilon if is_rounded else 0
        for target in (f"{row.name}.V", f"{row.name}.S"):
            pair = found[target].astype(float), expected[target].astype(float)
            try:
                numpy.testing.assert_allclose(*pair, rtol=tolerance, atol=tolerance)
            except AssertionError as error:
                faults.append(f"{target}: {str(error).strip()}")
    assert not faults, "\n".join(faults)


def test_every_operator_is_compiled():
    compiled = {row.name for name in SERVED for row in operators_of(DTYPES[name])}
    assert compiled == set(OPERATORS)


def test_a_wrong_spelling_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(SPELLINGS, "minimum", Spelling("max", is_exact=True))
    with pytest.raises(AssertionError, match=r"minimum\.V"):
        test_operators("i32", tmp_path)
