"""The dtype of an expression. What is refused is tested in test_verify.py, rule by rule."""

import pytest

from tcomp.ir.check.types import check_index_dtypes, expression_dtype
from tcomp.ir.dtypes import DTYPES, bf16, boolean, compute_dtype, f32, f64, i8, i64
from tcomp.ir.errors import VerifyError
from tcomp.ir.parse.cascade import parse_expression, parse_index

KNOWN = {"X": f32, "H": bf16, "I": i64, "B": i8, "M": boolean}


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("X[i] * 2.0 + exp(X[i])", "f32"),
        ("H[i] * H[i]", "bf16"),
        ("X[i] < 2.0", "bool"),
        ("isnan(H[i])", "bool"),
        ("select(M[i], B[i], 3:i8)", "i8"),
        ("select(X[i] < 0.0, M[i], true)", "bool"),
        ("f64(H[I[i]])", "f64"),
        ("i32[2*i]", "i32"),
        ("f32[i]", "f32"),
        ("M[i] & !M[i]", "bool"),
        ("B[i] ^ 1:i8", "i8"),
        ("(H[i] else 0)", "bf16"),
        ("X[value(B[i]) + 1]", "f32"),
    ],
)
def test_an_expression_has_the_dtype_the_table_gives(text, dtype):
    assert expression_dtype(parse_expression(text), KNOWN) == DTYPES[dtype]


def test_an_error_says_where():
    with pytest.raises(VerifyError) as caught:
        expression_dtype(parse_expression("X[i] + H[i]"), KNOWN, where="layer.1")
    assert str(caught.value).splitlines() == [
        "X[i] + H[i] joins f32 and bf16",
        "  where: layer.1",
        "  help: there is no promotion: convert an argument, as in f32(x)",
    ]


@pytest.mark.parametrize("text", ["X[i] + 1", "(2*X[i]) // 3", "value(M[i])"])
def test_an_index_is_made_of_integers(text):
    with pytest.raises(VerifyError, match="used as an index"):
        check_index_dtypes(parse_index(text), KNOWN)


def test_arithmetic_on_narrow_floats_is_in_f32():
    assert [compute_dtype(t) for t in (f64, f32, bf16, i8)] == [f64, f32, f32, i8]
    assert (bf16.bytes, bf16.epsilon, i8.epsilon, f32.epsilon) == (2, 2.0**-7, 0.0, 2.0**-23)
