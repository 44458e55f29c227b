"""How accurate the functions of the support files are, against mpmath, and what they do at the ends of their domains."""

import mpmath
import numpy
import pytest

from tcomp.ir.operators import OPERATORS
from tcomp.ir.parse.tile import parse_kernel
from tests.triton_programs import run_interpreted

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

COUNT = 128
POINTS = {
    "everywhere": numpy.concatenate([numpy.linspace(-20, 20, 64), numpy.geomspace(1e-9, 30, 32), -numpy.geomspace(1e-9, 30, 32)]),
    "positive": numpy.geomspace(1e-7, 1e4, COUNT),
    "within one": numpy.concatenate(
        [numpy.linspace(-0.999, 0.999, 64), numpy.geomspace(1e-9, 0.99999, 32), -numpy.geomspace(1e-9, 0.9, 32)]
    ),
    "above one": 1 + numpy.geomspace(1e-7, 1e4, COUNT),
    "above minus one": numpy.concatenate([numpy.geomspace(1e-9, 1e6, 96), -numpy.geomspace(1e-9, 0.999, 32)]),
    "not at poles": numpy.concatenate([numpy.geomspace(1e-3, 1e5, 96), -numpy.linspace(0.3, 9.4, 32)]),
    "tails": numpy.concatenate([numpy.linspace(-6, 26, 96), numpy.geomspace(1e-9, 1, 32)]),
    "small angles": numpy.linspace(-6, 6, COUNT),
}

FUNCTIONS = {
    "sigmoid": ("everywhere", lambda x: 1 / (1 + mpmath.exp(-x)), 4, 1e-15), "expm1": ("everywhere", mpmath.expm1, 4, 2e-15),
    "log1p": ("above minus one", mpmath.log1p, 4, 2e-15), "log10": ("positive", mpmath.log10, 1, 1e-15),
    "tanh": ("everywhere", mpmath.tanh, 4, 4e-15), "sinh": ("everywhere", mpmath.sinh, 1, 4e-15),
    "cosh": ("everywhere", mpmath.cosh, 1, 1e-15), "asinh": ("everywhere", mpmath.asinh, 1, 4e-15),
    "acosh": ("above one", mpmath.acosh, 1, 4e-15), "atanh": ("within one", mpmath.atanh, 1, 4e-15),
    "tan": ("small angles", mpmath.tan, 1, 1e-15), "asin": ("within one", mpmath.asin, 1, 2e-15),
    "acos": ("within one", mpmath.acos, 1, 2e-15), "atan": ("everywhere", mpmath.atan, 1, 1e-15),
    "erfc": ("tails", mpmath.erfc, 1, 2e-13), "erfinv": ("within one", mpmath.erfinv, 1, 4e-14),
    "lgamma": ("not at poles", lambda x: mpmath.log(abs(mpmath.gamma(x))), 1, 2e-14),
    "digamma": ("not at poles", mpmath.digamma, 1, 2e-14),
}  # fmt: skip
"""Where to look, what to find, units in the last place of f32 that it may be off, and the relative error of f64 (absolute below 1)."""

ABSOLUTE = {"lgamma", "digamma", "erfinv"}
"""Functions whose error next to their roots is like that elsewhere."""


def evaluate(dtype, folder):
    """Each function at its points, by name."""
    kind = {"f32": numpy.float32, "f64": numpy.float64}[dtype]
    arguments = [f"in {name}.x: {dtype}[{COUNT}], out {name}.y: {dtype}[{COUNT}]" for name in FUNCTIONS]
    body = [f"{name}.y[n] over (n:{COUNT}) = {name}({name}.x[n])" for name in FUNCTIONS]
    kernel = parse_kernel(f"kernel k({', '.join(arguments)}) {{ {chr(10).join(body)} }}")
    arrays = {}
    for name, (where, *_) in FUNCTIONS.items():
        arrays |= {f"{name}.x": POINTS[where].astype(kind), f"{name}.y": numpy.zeros(COUNT, kind)}
    run_interpreted(kernel, arrays, folder)
    return arrays


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_functions_are_as_accurate_as_they_say(dtype, tmp_path):
    arrays = evaluate(dtype, tmp_path)
    faults = {}
    for name, (_, oracle, ulps, relative) in FUNCTIONS.items():
        exact = numpy.array([float(oracle(mpmath.mpf(float(x)))) for x in arrays[f"{name}.x"]])
        size = numpy.maximum(abs(exact), 1.0) if name in ABSOLUTE and dtype == "f64" else abs(exact)
        allowed = (ulps * numpy.spacing(abs(exact).astype(numpy.float32))).astype(float) if dtype == "f32" else relative * size
        error = abs(arrays[f"{name}.y"].astype(float) - exact)
        if not (error <= allowed).all():
            worst = numpy.argmax(error / allowed)
            faults[name] = f"{error[worst] / allowed[worst]:.2f} times the error allowed at {arrays[f'{name}.x'][worst]}"
    assert faults == {}


def test_powers(tmp_path):
    random = numpy.random.default_rng(0)
    x, y = random.uniform(0.01, 90, COUNT), random.uniform(-9, 9, COUNT)
    text = "kernel k(in X: {t}[128], in Y: {t}[128], out Z: {t}[128]) {{ Z[n] over (n:128) = pow(X[n], Y[n]) }}"
    for dtype, kind, rounding in (("f64", numpy.float64, 1e-13), ("f32", numpy.float32, 2e-7)):
        arrays = {"X": x.astype(kind), "Y": y.astype(kind), "Z": numpy.zeros(COUNT, kind)}
        run_interpreted(parse_kernel(text.format(t=dtype)), arrays, tmp_path)
        exact = [float(mpmath.power(mpmath.mpf(float(a)), mpmath.mpf(float(b)))) for a, b in zip(arrays["X"], arrays["Y"])]
        numpy.testing.assert_allclose(arrays["Z"], exact, rounding)


def test_remainders_are_exact_whatever_the_quotient(tmp_path):
    random = numpy.random.default_rng(0)
    x = (random.standard_normal(COUNT) * 10.0 ** random.integers(-30, 38, COUNT)).astype(numpy.float32)
    y = (random.standard_normal(COUNT) * 10.0 ** random.integers(-30, 30, COUNT)).astype(numpy.float32)
    arrays = {"X": x, "Y": y, "F": numpy.zeros(COUNT, numpy.float32), "R": numpy.zeros(COUNT, numpy.float32)}
    text = """kernel k(in X: f32[128], in Y: f32[128], out F: f32[128], out R: f32[128]) {
      F[n] over (n:128) = fmod(X[n], Y[n])
      R[n] over (n:128) = mod(X[n], Y[n])
    }"""
    run_interpreted(parse_kernel(text), arrays, tmp_path)
    numpy.testing.assert_array_equal(arrays["F"], numpy.fmod(x, y))
    numpy.testing.assert_array_equal(arrays["R"], numpy.mod(x, y))


def test_functions_that_are_looked_at_exist():
    assert set(FUNCTIONS) <= set(OPERATORS)
