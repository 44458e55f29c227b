"""The text of cascades: it reads back as it was printed, and what does not parse says where and why."""

import pytest
from hypothesis import given, settings
from ir_strategies import cascades, einsums, expressions

from tcomp.ir.cascade import Source, print_einsum
from tcomp.ir.errors import ParseError
from tcomp.ir.expressions import Constant, Load, print_expression, print_index
from tcomp.ir.parse.cascade import parse_cascade, parse_einsum, parse_expression, parse_index


@settings(max_examples=200, deadline=None)
@given(expressions())
def test_every_expression_reads_back(expression):
    assert parse_expression(print_expression(expression)) == expression


@settings(max_examples=100, deadline=None)
@given(einsums())
def test_every_einsum_reads_back(einsum):
    assert parse_einsum(print_einsum(einsum)) == einsum


@settings(max_examples=50, deadline=None)
@given(cascades())
def test_every_cascade_reads_back(cascade):
    assert parse_cascade(str(cascade)) == cascade
    assert str(parse_cascade(str(cascade))) == str(cascade)


@pytest.mark.parametrize(
    "text",
    [
        "2*p + r - 1",
        "-(i // 4)",
        "(-i) // 4",
        "i - i // 4",
        "(i + 3) // 4 * 2",
        "m.0 + 4*m.1",
        "X[i, 2*j] + value(Y[i] * 2)",
        "value((X[i] else 0))",
        "(i % N) // (N + 1)",
    ],
)
def test_indices_mean_what_python_says(text):
    index = parse_index(text)
    assert parse_index(print_index(index)) == index


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a[] + b[]*c[]", "a[] + b[] * c[]"),
        ("(a[] + b[])*c[]", "(a[] + b[]) * c[]"),
        ("a[] - (b[] - c[])", "a[] - (b[] - c[])"),
        ("(a[] - b[]) - c[]", "a[] - b[] - c[]"),
        ("- a[] * b[]", "-a[] * b[]"),
        ("-(a[] * b[])", "-(a[] * b[])"),
        ("- 2.0", "-2.0"),
        ("neg(2.0)", "neg(2.0)"),
        ("add(a[], b[])", "a[] + b[]"),
        ("a[] < b[] & !c[] | d[]", "a[] < b[] & !c[] | d[]"),
        ("1e3", "1000.0"),
        ("2:f32", "2.0"),
        ("7:u8", "7:u8"),
        ("-inf:bf16", "-inf:bf16"),
        ("f32 [ 2*i ]", "f32[2*i]"),
        ("bf16(a[])", "bf16(a[])"),
        ("(X[i-1] else -0.0)", "(X[i - 1] else -0.0)"),
        ("(X[i-1] else true)", "(X[i - 1] else true)"),
        ("a[ # a comment\n i]", "a[i]"),
    ],
)
def test_expressions_bind_as_the_table_says(text, printed):
    assert print_expression(parse_expression(text)) == printed


def test_only_whole_literals_and_full_width_ordinals_become_plain_indices():
    assert str(parse_index("value(3) + value(i64[i])")) == "i + 3"
    assert str(parse_index("value(i8[i])")) == "value(i8[i])"
    assert str(parse_index("value(nan)")) == "value(nan)"


def test_literals_keep_their_bits():
    assert parse_expression("-0.0") != parse_expression("0.0")
    assert parse_expression("nan") == parse_expression("nan")
    assert isinstance(parse_expression("nan"), Constant)
    assert Load("X", (), 0.0) != Load("X", (), None)


def test_an_einsum_knows_its_line():
    cascade = parse_cascade("cascade c(X: f32[4]) -> (Y) {\n\n  Y: f32[i:4] = X[i]\n}")
    assert cascade.statements[0].source == Source(line="line 3")


HEAD = "cascade c(X: f32[4]) -> (Y) {\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("", 1, 1, "expected 'cascade', found the end of the text"),
        ("cascade 4", 1, 9, "expected the cascade's name, found '4'"),
        ("cascade c(X: f33[4])", 1, 14, "there is no dtype 'f33'"),
        ("cascade c(X: f32[4] Y", 1, 21, "expected ',', found 'Y'"),
        ("cascade c() (Y)", 1, 13, "expected '->', found '('"),
        ("cascade c() -> (Y Z)", 1, 19, "expected ',', found 'Z'"),
        ("cascade c() -> () for N in x", 1, 28, "expected the smallest size, found 'x'"),
        ("cascade c() -> () for N in 1", 1, 29, "expected '..', found the end of the text"),
        ("cascade c() -> () { } }", 1, 23, "unexpected '}' after the end"),
        (HEAD + "  Y: f32[i:4] = X[i] $\n}", 2, 22, "unexpected character '$'"),
        (HEAD + "  Y: f32[i:4] = exq(X[i])\n}", 2, 17, "there is no operator 'exq'"),
        (HEAD + "  Y: f32[i:4] = som(j:4) X[j]\n}", 2, 17, "there is no monoid 'som'"),
        (HEAD + "  Y: f32[i:4] = sum(j:4, k) X[j]\n}", 2, 27, "expected ':', found ')'"),
        (HEAD + "  Y: f32[i:4] = sum(j:4 k:4) X[j]\n}", 2, 25, "expected ',', found 'k'"),
        (HEAD + "  Y: f32[i] = X[i]\n}", 2, 11, "expected ':', found ']'"),
        (HEAD + "  Y: f32[i:4 j:4] = X[i]\n}", 2, 14, "expected ',', found 'j'"),
        (HEAD + "  Y[i:4] = X[i]\n}", 2, 4, "expected ':', found '['"),
        (HEAD + "  Y: f32[i:4] = X\n}", 2, 17, "'X' is neither a load nor a call"),
        (HEAD + "  Y: f32[i:4] = X[i\n}", 3, 1, "expected ',', found '}'"),
        (HEAD + "  Y: f32[i:4] = exp(X[i] X[i])\n}", 2, 26, "expected ',', found 'X'"),
        (HEAD + "  Y: f32[i:4] = exp(X[i], X[i])\n}", 2, 17, "exp takes 1 argument, not 2"),
        (HEAD + "  Y: f32[i:4] = f32(X[i], X[i])\n}", 2, 17, "a conversion to f32 takes one argument, not 2"),
        (HEAD + "  Y: f32[i:4] = (exp(X[i]) else 0)\n}", 2, 28, "'else' follows something that is not a load"),
        (HEAD + "  Y: f32[i:4] = ((X[i]) else 0)\n}", 2, 18, "the parenthesis of 'else' holds the load alone"),
        (HEAD + "  Y: f32[i:4] = (X[i] else X[i])\n}", 2, 28, "expected a literal, found 'X'"),
        (HEAD + "  Y: f32[i:4] = (X[i] else -true)\n}", 2, 29, "expected a literal, found 'true'"),
        (HEAD + "  Y: f32[i:4] = 1.5:i32\n}", 2, 17, "the literal 1.5 is no i32"),
        (HEAD + "  Y: f32[i:4] = 1:bool\n}", 2, 17, "a bool literal is true or false"),
        (HEAD + "  Y: f32[i:4] = X[i // 0]\n}", 2, 21, "// by 0"),
        (HEAD + "  Y: f32[i:4] = X[i % -2]\n}", 2, 21, "% by -2"),
        (HEAD + "  Y: f32[i:4] = X[1.5]\n}", 2, 19, "expected an index, found '1.5'"),
        (HEAD + "  Y: f32[i:4] = X[i64(i)]\n}", 2, 19, "'i64' is called in an index"),
        (HEAD + "  where: f32[i:4] = X[i]\n}", 2, 3, "'where' is a word of the language, not a target"),
        (HEAD + "  iterate t { }\n}", 2, 13, "expected ':', found '{'"),
        (HEAD + "  Y: f32[i:4] = X[i]\n", 2, 21, "expected a target, found the end of the text"),
    ],
)
def test_what_does_not_parse_says_where_and_why(text, line, column, what):
    with pytest.raises(ParseError) as caught:
        parse_cascade(text)
    assert (caught.value.what, caught.value.line, caught.value.column) == (what, line, column)
    shown = str(caught.value).splitlines()
    assert shown[0] == what
    if text:
        assert next(row for row in shown if row.strip() == "^").index("^") == column - 1 + 4


def test_a_mistyped_name_gets_a_suggestion():
    with pytest.raises(ParseError) as caught:
        parse_expression("sqr(X[i])")
    assert "sqrt" in caught.value.help


@pytest.mark.parametrize("parse", [parse_einsum, parse_expression, parse_index])
def test_the_parts_parse_alone_and_take_nothing_after_them(parse):
    text = {parse_einsum: "Y: f32[i:4] = X[i]", parse_expression: "X[i]", parse_index: "2*i"}[parse]
    parse(text)
    with pytest.raises(ParseError, match="after the end"):
        parse(text + " }")
