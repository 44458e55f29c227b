"""Scalar expressions with operators print as what they mean."""

import pytest

from tcomp.ir.dtypes import DType, bf16, boolean, f32, i64, u8
from tcomp.ir.expressions import as_index, load, print_expression, print_index
from tcomp.lowerings.scalars import Scalar, absolute, copysign, exp, literal, ordinal, select

X = Scalar(load("X", "i"), f32)
N = Scalar(load("N", "i"), i64)
B = Scalar(load("B", "i"), boolean)


@pytest.mark.parametrize(
    ("scalar", "text", "dtype"),
    [
        (X + 1, "X[i] + 1.0", f32),
        (2 - X * X, "2.0 - X[i] * X[i]", f32),
        (1 / X, "1.0 / X[i]", f32),
        (-X, "-X[i]", f32),
        (N + 1, "N[i] + 1", i64),
        (X < 0.5, "X[i] < 0.5", boolean),
        (X.equals(0), "X[i] == 0.0", boolean),
        (X.differs(X), "X[i] != X[i]", boolean),
        (B & ~B | True, "B[i] & !B[i] | true", boolean),
        (N ^ 3, "N[i] ^ 3", i64),
        (select(B, X, 0), "select(B[i], X[i], 0.0)", f32),
        (copysign(literal(1.0, f32), X), "copysign(1.0, X[i])", f32),
        (exp(X.to(bf16).to(f32)), "exp(f32(bf16(X[i])))", f32),
        (X.to(f32), "X[i]", f32),
        (ordinal(as_index("i") * 2), "i64[2*i]", i64),
        (ordinal(as_index(3)), "3", i64),
        (literal(300, u8), "44:u8", u8),
        (literal(-1, u8), "255:u8", u8),
        (literal(300, i64).to(u8), "44:u8", u8),
        (absolute(Scalar(load("U", "i"), u8)), "U[i]", u8),
    ],
)
def test_spelling(scalar: Scalar, text: str, dtype: DType):
    assert (print_expression(scalar.expression), scalar.dtype) == (text, dtype)


def test_an_integer_scalar_is_an_index():
    assert print_index((N + 1).as_index()) == "value(N[i] + 1)"
    assert print_index(N.as_index()) == "N[i]"
    assert print_index(literal(3, i64).as_index()) == "3"


def test_types_are_not_mixed():
    with pytest.raises(AssertionError, match="add of"):
        X + N
