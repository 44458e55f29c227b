"""Every operator on every dtype it takes, as tensors and as scalars, in Triton's interpreter and compared with the evaluator."""

import numpy
import pytest

from tcomp.ir.dtypes import DTYPES
from tcomp.ir.evaluate.arrays import round_float, storage
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.operators import OPERATORS, TYPE_KINDS
from tcomp.ir.parse.tile import parse_kernel
from tests.triton_programs import compile_ahead, run_interpreted

FLOATS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5, -2.5, 3.75, -7.25, 2e-3, 20.0, numpy.inf, -numpy.inf, numpy.nan]
INTEGERS = [-7, -3, -2, -1, 1, 2, 3, 7]
NATURALS = [1, 2, 3, 5, 7, 120]
RANDOM = 40
DIVISIONS = {"floordiv", "mod", "truncdiv", "fmod"}
ULPS = {"exp": 16, "exp2": 16, "pow": 16}
"""Units in the last place; 4 for the others, and 512 for f64."""
ABSOLUTE = {"lgamma": 1e-13, "digamma": 1e-13}
"""What else a result may be off: next to their roots these are as wrong as next to their values elsewhere."""
SCALARS = 3


def make_inputs(row, dtype):
    """All pairs of special values, then random ones."""
    random = numpy.random.default_rng(0)
    if dtype.kind == "bool":
        pool, more = [False, True, True], []
    elif dtype.kind == "int":
        pool, more = (INTEGERS if dtype.signed else NATURALS), []
    else:
        pool, more = FLOATS, random.standard_normal((row.arity, RANDOM)) * 4
    names = row.arity - (row.name == "select")
    grids = [grid.reshape(-1) for grid in numpy.meshgrid(*[numpy.array(pool)] * names, indexing="ij")]
    if len(more):
        grids = [numpy.concatenate([grid, extra]) for grid, extra in zip(grids, more)]
    if row.name in ("shl", "shr", "pow") and dtype.kind == "int":
        grids[1] = abs(grids[1]) % dtype.bits if row.name != "pow" else grids[1]
    arrays = [grid.astype(storage(dtype)) for grid in grids]
    arrays = [round_float(a, dtype) if dtype.is_float and dtype.bits < 32 else a for a in arrays]
    if row.name == "copysign":
        arrays[1] = numpy.where(numpy.isnan(arrays[1]), arrays[0], arrays[1])  # the sign of NaN is nobody's business
    return [random.random(len(arrays[0])) < 0.5, *arrays] if row.name == "select" else arrays


def spell(row, index):
    arguments = [f"{row.name}.{p}[{index}]" for p in range(row.arity)]
    if row.infix and row.arity == 2:
        return f" {row.infix} ".join(arguments)
    return f"{row.infix}{arguments[0]}" if row.infix else f"{row.name}({', '.join(arguments)})"


def make_kernel(rows, dtype, counts):
    """One kernel that applies each operator to tensors (T), and to a few of the elements as scalars (S)."""
    parameters, tensors, scalars = [], [], []
    for row in rows:
        result = "bool" if row.result == "bool" else dtype.name
        count = counts[row.name]
        for p in range(row.arity):
            parameters.append(f"in {row.name}.{p}: {'bool' if row.name == 'select' and p == 0 else dtype.name}[{count}]")
        parameters += [f"out {row.name}.T: {result}[{count}]", f"out {row.name}.S: {result}[{SCALARS}]"]
        tensors.append(f"{row.name}.T[i.0] over (i.0:{count}) = {spell(row, 'i.0')}")
        scalars.append(f"{row.name}.S[i] over () = {spell(row, 'i')}")
    body = "\n".join([*tensors, f"for i in 0 .. {SCALARS} {{", *scalars, "}"])
    return parse_kernel(f"kernel operators_{dtype.name}({', '.join(parameters)}) {{\n{body}\n}}")


def find_error(row, dtype, found, expected):
    """What is wrong with a result, if anything is."""
    if row.result == "bool" or not dtype.is_float:
        return None if numpy.array_equal(found, expected) else f"{found} is not {expected}"
    found, expected = found.astype(numpy.float64), expected.astype(numpy.float64)
    if not numpy.array_equal(numpy.isnan(found), numpy.isnan(expected)):
        return "NaN in different places"
    numbers = ~numpy.isnan(expected)
    found, expected = found[numbers], expected[numbers]
    if not numpy.array_equal(numpy.signbit(found), numpy.signbit(expected)):
        return f"signs differ: {found[numpy.signbit(found) != numpy.signbit(expected)]}"
    finite = numpy.isfinite(expected)
    if not numpy.array_equal(found[~finite], expected[~finite]):
        return f"{found[~finite]} is not {expected[~finite]}"
    ulps = 512 if dtype.bits == 64 else 1 if dtype.bits < 32 else ULPS.get(row.name, 4)
    smallest = 2.0 ** {"f64": -1022, "f32": -126, "f16": -14, "bf16": -126, "e4m3": -6, "e5m2": -14}[dtype.name]
    allowed = ulps * dtype.epsilon * numpy.maximum(abs(expected[finite]), smallest) + ABSOLUTE.get(row.name, 0.0)
    wrong = abs(found[finite] - expected[finite]) > allowed
    return f"{found[finite][wrong]} is not {expected[finite][wrong]}" if wrong.any() else None


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_operators_are_the_evaluator_s(name, tmp_path):
    dtype = DTYPES[name]
    rows = [row for row in OPERATORS.values() if dtype.kind in TYPE_KINDS[row.types]]
    arrays, counts = {}, {}
    for row in rows:
        inputs = make_inputs(row, dtype)
        counts[row.name] = len(inputs[0])
        result = storage(DTYPES["bool"] if row.result == "bool" else dtype)
        arrays |= {f"{row.name}.{p}": array for p, array in enumerate(inputs)}
        arrays |= {f"{row.name}.T": numpy.zeros(len(inputs[0]), result), f"{row.name}.S": numpy.zeros(SCALARS, result)}
    kernel = make_kernel(rows, dtype, counts)
    expected = {key: array.copy() for key, array in arrays.items()}
    evaluate_kernel(kernel, expected)
    run_interpreted(kernel, arrays, tmp_path)
    faults = {
        f"{row.name} {form}": find_error(row, dtype, arrays[f"{row.name}.{form}"], expected[f"{row.name}.{form}"])
        for row in rows
        for form in "TS"
    }
    assert {key: fault for key, fault in faults.items() if fault} == {}


BINARY = {
    "f32": ("add", "div", "mod", "fmod", "maximum", "atan2", "pow", "copysign", "hypot", "nextafter", "lt"),
    "i32": ("floordiv", "mod", "truncdiv", "fmod", "pow", "minimum", "shl", "xor"),
    "u8": ("floordiv", "mod", "pow", "eq"), "f64": ("mod", "nextafter", "pow"), "bool": ("and", "xor", "maximum", "lt"),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_operands_of_different_shapes(name, tmp_path):
    """A row with a column, and a scalar with a row on either side: what the interpreter takes need not compile."""
    arguments, body = [f"in X: {name}[8]", f"in Y: {name}[4]"], []
    for operator in BINARY[name]:
        row = OPERATORS[operator]
        result = "bool" if row.result == "bool" else name
        arguments += [f"out {operator}.a: {result}[4, 8]", f"out {operator}.b: {result}[8]", f"out {operator}.c: {result}[8]"]
        for target, left, right in (("a[j, i]", "X[i]", "Y[j]"), ("b[i]", "X[i]", "Y[0]"), ("c[i]", "Y[0]", "X[i]")):
            axes = "j:4, i:8" if "j" in target else "i:8"
            value = f"{left} {row.infix} {right}" if row.infix else f"{operator}({left}, {right})"
            body.append(f"{operator}.{target} over ({axes}) = {value}")
    kernel = parse_kernel(f"kernel k({', '.join(arguments)}) {{ {chr(10).join(body)} }}")
    compile_ahead(kernel, tmp_path)
    held = {a.name: numpy.ones([e.constant for e in a.shape], storage(a.dtype)) for a in kernel.arguments}
    expected = {key: array.copy() for key, array in held.items()}
    evaluate_kernel(kernel, expected)
    run_interpreted(kernel, held, tmp_path)
    for key, array in expected.items():
        numpy.testing.assert_allclose(held[key].astype(float), array.astype(float), 1e-6, err_msg=key)
