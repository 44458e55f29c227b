"""The printer of C: every node, and parentheses exactly where the grammar or a reader needs them."""

import math
import struct

import pytest

from tcomp.codegen.c.printer import print_c, print_c_expression
from tcomp.codegen.c.tree import (
    Binary,
    Braces,
    Call,
    Comment,
    Conditional,
    Convert,
    Declare,
    DeclareArray,
    Directive,
    Evaluate,
    Float,
    For,
    Function,
    If,
    Integer,
    Name,
    Parameter,
    Return,
    Scope,
    Set,
    Subscript,
    Unary,
    add,
    both,
)

A, B, C = map(Name, "abc")


def binary(operator, left, right):
    return Binary(operator, left, right)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (binary("+", binary("*", A, B), C), "a * b + c"),
        (binary("*", binary("+", A, B), C), "(a + b) * c"),
        (binary("-", A, binary("-", B, C)), "a - (b - c)"),
        (binary("-", binary("-", A, B), C), "a - b - c"),
        (binary("/", A, binary("*", B, C)), "a / (b * c)"),
        (binary("==", binary("&", A, B), C), "(a & b) == c"),
        (binary("&", A, binary("==", B, C)), "a & (b == c)"),
        (binary("||", binary("&&", A, B), C), "(a && b) || c"),
        (binary("<<", A, binary("+", B, C)), "a << (b + c)"),
        (Unary("-", Unary("-", A)), "-(-a)"),
        (Unary("-", Integer(-1)), "-(-1)"),
        (Unary("~", binary("&", A, B)), "~(a & b)"),
        (binary("-", A, Integer(-1)), "a - -1"),
        (Conditional(A, B, Conditional(A, B, C)), "a ? b : (a ? b : c)"),
        (binary("+", Conditional(A, B, C), A), "(a ? b : c) + a"),
        (Convert("int8_t", binary("+", A, B)), "(int8_t)(a + b)"),
        (Subscript(Call("f", (A, B)), binary("+", A, B)), "f(a, b)[a + b]"),
        (Subscript(Unary("-", A), Integer(0)), "(-a)[0]"),
        (Braces((A, Integer(1))), "{a, 1}"),
        (Braces((Integer(0),), "vf32"), "(vf32){0}"),
    ],
)
def test_expressions(expression, text):
    assert print_c_expression(expression) == text


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        (Integer(-(2**63)), "INT64_MIN"),
        (Integer(2**31), "INT64_C(2147483648)"),
        (Integer(2**31 - 1), "2147483647"),
        (Float(0.1), "0.1f"),
        (Float(0.1, single=False), "0.1"),
        (Float(1.0), "1.0f"),
        (Float(-2.0), "-2.0f"),
        (Float(1e20), "1e+20f"),
        (Float(math.inf), "__builtin_inff()"),
        (Float(-math.inf, single=False), "-__builtin_inf()"),
        (Float(math.nan), '__builtin_nanf("")'),
        (Float(1e60), "__builtin_inff()"),
    ],
)
def test_literals(literal, text):
    assert print_c_expression(literal) == text


@pytest.mark.parametrize("bits", [1, 0x00800000, 0x3DCCCCCD, 0x7F7FFFFF, 0x3F800001, 0xC2F6E979])
def test_float_literals_read_back_as_the_same_bits(bits):
    (value,) = struct.unpack("f", struct.pack("I", bits))
    text = print_c_expression(Float(value)).removesuffix("f")
    assert struct.pack("f", float(text)) == struct.pack("I", bits)


def test_statements():
    loop = For("i", Integer(0), Binary("<", Name("i"), Integer(8)), 2, (Set(Subscript(A, Name("i")), B, "+="),))
    body = (
        Declare("const float", "b", Float(0.5)),
        DeclareArray("float", "t", 8, alignment=64),
        loop,
        For("k", None, Binary("<", Name("k"), C), 1, ()),
        If(A, (Evaluate(Call("f", ())),), (Return(A),)),
        Scope((Return(),)),
    )
    function = Function("void", "g", (Parameter("float*", "a", "out f32[8]"), Parameter("int64_t", "c")), body)
    assert print_c((Directive("#include <x.h>"), Comment(("one",)), Comment(("two", "lines */")), function)) == (
        "#include <x.h>\n"
        "/* one */\n"
        "/* two\n"
        " * lines * / */\n"
        "void g(\n"
        "    float* a,  /* out f32[8] */\n"
        "    int64_t c) {\n"
        "  const float b = 0.5f;\n"
        "  float t[8] __attribute__((aligned(64)));\n"
        "  for (int64_t i = 0; i < 8; i += 2) {\n"
        "    a[i] += b;\n"
        "  }\n"
        "  for (; k < c; k++) {\n"
        "  }\n"
        "  if (a) {\n"
        "    f();\n"
        "  } else {\n"
        "    return a;\n"
        "  }\n"
        "  {\n"
        "    return;\n"
        "  }\n"
        "}\n"
    )


def test_declarations_and_tables():
    table = DeclareArray("static const int", "T", 2, (Integer(1), Braces((A, B))))
    assert print_c((Function("int", "f", (Parameter("int", ""),), None), table)) == (
        "int f(int);\nstatic const int T[2] = {\n  1,\n  {a, b},\n};\n"
    )


def test_sums_and_conditions():
    assert add(Integer(0), A) == A
    assert add(A, Integer(0)) == A
    assert print_c_expression(add(A, Integer(-3))) == "a - 3"
    assert print_c_expression(both([A, B, C])) == "a && b && c"
