"""The grammar page is true: its cascades verify and compute, its tables are those of the modules."""

import numpy
import pytest

from tcomp.ir import cascade as cascade_module
from tcomp.ir import expressions as expressions_module
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.dtypes import DTYPES, boolean, f32, i64
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.expressions import print_expression
from tcomp.ir.monoids import MONOIDS, state_names
from tcomp.ir.operators import OPERATORS, TYPE_KINDS
from tcomp.ir.parse.cascade import parse_cascade
from tests.documentation import ROOT, fill_sections, find_blocks, find_example, make_table

PAGE = (ROOT / "docs/grammar.md").read_text()
CASCADES = {parse_cascade(block.text).name: block.text for block in find_blocks(PAGE) if block.language == "cascade"}
X = numpy.arange(24, dtype=numpy.float32).reshape(4, 6)
PADDED = numpy.pad(X, ((1, 1), (0, 0)))
EXAMPLES = {
    "softmax": ({"X": X}, {"Y": numpy.exp(X - X.max(1, keepdims=True)) / numpy.exp(X - X.max(1, keepdims=True)).sum(1, keepdims=True)}),
    "views": (
        {"X": X},
        {
            "TRANSPOSED": X.T,
            "FLAT": X.reshape(-1),
            "EVERY_OTHER": X[:, 1::2],
            "FLIPPED": X[:, ::-1],
            "PADDED": PADDED,
            "WINDOWS": numpy.lib.stride_tricks.sliding_window_view(X, 3, axis=1),
        },
    ),
    "histogram": (
        {"X": numpy.array([1, 3, 3, 9, -1]), "OLD": numpy.arange(8)},
        {"COUNT": numpy.array([0, 2, 2, 5, 4, 5, 6, 7])},
    ),
    "recurrence": (
        {"A": numpy.float32([[2.0], [3.0]]), "B": numpy.float32([[1.0], [4.0]])},
        {"Y": numpy.float32([[1.0], [7.0]])},
    ),
    "types": (
        {"X": numpy.float32([[1, 2, 4], [4, 2, 1]]), "Q": numpy.array([1, -1, 2], numpy.int8), "S": numpy.float32([1, 0.5])},
        {"Y": numpy.float32([7, 2]), "COUNT": numpy.array(2), "WHERE": numpy.array([2, 0])},
    ),
}


@pytest.mark.parametrize("name", CASCADES)
def test_a_cascade_of_the_page_is_what_it_says(name):
    cascade = parse_cascade(CASCADES[name])
    check_cascade(cascade)
    assert str(cascade) == CASCADES[name].strip()
    inputs, expected = EXAMPLES[name]
    found = evaluate(cascade, inputs)
    assert list(found) == list(expected)
    for output, value in expected.items():
        numpy.testing.assert_allclose(found[output], value, rtol=1e-6)


def test_every_example_is_on_the_page():
    assert list(EXAMPLES) == list(CASCADES)


def test_the_page_names_every_dtype():
    assert ", ".join(DTYPES) in PAGE


def make_grammar():
    rows = "\n".join(find_example(module.__doc__) for module in (cascade_module, expressions_module))
    return f"```text\n{rows}\n```"


def make_monoids():
    rows = []
    for monoid in MONOIDS.values():
        dtype = next(t for t in (f32, i64, boolean) if t.kind in TYPE_KINDS[monoid.types])
        (x,), (i,) = state_names("x", 1), state_names("i", 1)
        parts = [print_expression(part) for part in monoid.lift(x, i, dtype)]
        state = ", ".join(part.replace("x.0[]", "x").replace("i.0[]", "i") for part in parts)
        identity = ", ".join(print_expression(c) for c in monoid.identity(dtype))
        operator = "" if monoid.operator is None else f"`{OPERATORS[monoid.operator].infix or monoid.operator}`"
        rows.append([f"`{monoid.name}`", ", ".join(TYPE_KINDS[monoid.types]), f"`{state}`", operator, f"`{identity}`"])
    return make_table(["monoid", "of", "state of an element", "merge", "identity"], *rows)


def make_operators():
    rows = [
        [
            f"`{row.name}`",
            f"`{row.infix}`" if row.infix else "",
            str(row.precedence) if row.infix else "",
            str(row.arity),
            ", ".join(TYPE_KINDS[row.types]),
            row.result,
        ]
        for row in OPERATORS.values()
    ]
    return make_table(["operator", "written", "binds", "arguments", "takes", "gives"], *rows)


def test_the_tables_of_the_page_are_those_of_the_modules(golden):
    page = fill_sections(PAGE, {"grammar": make_grammar(), "monoids": make_monoids(), "operators": make_operators()})
    type(golden)(golden.update, ROOT / "docs").check("grammar.md", page)
