"""The vector functions of codegen/c/support keep the errors stated in vector.h; special values and scalar forms are right."""

import ctypes
import re
import subprocess

import numpy as np
import pytest
import torch

from tests.vector_library import ALL_PATTERNS, BINARY, PAIRS, SUPPORT, build, compiler, instruction_sets, is_fused, measure, stated_bounds

pytestmark = pytest.mark.skipif(not compiler(), reason="no C compiler")
STRIDE = 16381  # a prime: 262 thousand floats spread over all exponents
HARNESS = "vector_math_harness.c"
SHORT_TABLE = ("-DUNARY(X)=X(exp, exp) X(log, log) X(round, rint)", "-DBINARY(X)=")
F64_NAMES = ("exp", "log1p", "sin", "tanh", "erf", "sigmoid", "digamma", "erfinv", "lgamma", "floor", "sqrt", "rsqrt", "sign", "relu")


@pytest.fixture(scope="module", params=instruction_sets())
def machine(request):
    return request.param, build(HARNESS, request.param)


@pytest.mark.parametrize("name", stated_bounds())
def test_error_is_within_the_stated_bound(machine, name):
    march, library = machine
    found = measure(library, name, STRIDE, compare_scalar=True)
    bound = stated_bounds()[name]
    assert found.failures == 0, f"first at {found.failure}"
    assert found.max_ulp <= (bound.fused if is_fused(march) else bound.unfused), f"at {found.worst}"
    assert found.count >= (PAIRS if name in BINARY else ALL_PATTERNS // STRIDE)


@pytest.mark.parametrize("name", F64_NAMES)
def test_f64_lanes_and_scalars_agree_with_torch(machine, name):
    _, library = machine
    x = np.concatenate([np.linspace(-9.7, 9.9, 4001), [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-310, 0.3, -0.999999]])
    x = np.concatenate([x, np.zeros(-len(x) % 16)])
    lanes, scalars = np.empty_like(x), np.empty_like(x)
    library[f"map_f64_{name}"](*(ctypes.c_void_p(array.ctypes.data) for array in (x, lanes, scalars)), ctypes.c_int64(len(x)))
    np.testing.assert_array_equal(lanes, scalars)
    reference = getattr(torch.special if name in ("digamma", "erfinv") else torch, name)(torch.from_numpy(x)).numpy()
    tolerance = 1e-11 if name == "digamma" else 2e-14  # torch's digamma loses digits near its poles
    np.testing.assert_allclose(lanes, reference, rtol=tolerance, atol=2e-14)


def test_every_name_in_the_head_of_the_header_exists():
    command = [*compiler(), "-E", "-P", "-march=native", str(SUPPORT / "vector.h")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    defined = set(re.findall(r"\btcomp_\w+(?=\()", text))
    rows = re.findall(r"^ \*   ([\w ]+) : ([\w ]+)$", (SUPPORT / "vector.h").read_text(), re.MULTILINE)
    promised = {f"tcomp_{operation}_{kind}" for operations, kinds in rows for operation in operations.split() for kind in kinds.split()}
    assert len(promised) > 400
    assert sorted(promised - defined) == []


def test_fused_and_portable_forms_are_both_measured(machine):
    march, library = machine
    widths = {"haswell": 8, "x86-64": 4}
    assert library.lanes() == widths.get(march, library.lanes())


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("(y) * 1.0000003f", "exp"),  # too inaccurate
        ("(y) + 0.0f", "round"),  # loses the sign of zero
        ("(y) != (y) ? 0.0f : (y)", "log"),  # loses NaN
        ("(y) > 3e38f ? 3e38f : (y)", "exp"),  # loses infinity
    ],
)
def test_the_measurement_finds_a_planted_fault(fault, name):
    library = build(HARNESS, "native", f"-DPERTURB(y)=({fault})", *SHORT_TABLE)
    found = measure(library, name, STRIDE, compare_scalar=False)
    assert found.failures > 0 or found.max_ulp > 2 * stated_bounds()[name].fused


def test_the_measurement_finds_a_scalar_that_differs():
    library = build(HARNESS, "native", "-DPERTURB_SCALAR(y)=((y) * 1.0000002f)", *SHORT_TABLE)
    assert measure(library, "exp", STRIDE, compare_scalar=True).failures > 0
