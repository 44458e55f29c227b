"""The rewrite that the docstring of a pass shows is what the pass does. Tensors that nothing declares follow from how they are read."""

import inspect
from dataclasses import replace

import pytest

from tcomp.ir.cascade import Cascade, Iteration, Symbol, Tensor
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import ONE, Load
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.tile import contiguous_strides
from tcomp.ir.walk import index_variables, substitute_index, walk
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.cascade.normalise import normalise_ranks
from tcomp.passes.cascade.operands import prepare_operands
from tcomp.passes.cascade.reroll.reroll import reroll
from tcomp.passes.choose import Guess
from tcomp.passes.pipeline import find_passes
from tests.documentation import find_example
from tests.program_runner import small_target

WEIGHTS = {"W", "mean", "scale", "beta"}


def make_cascade(statements):
    """A cascade of statements, the last of which gives the output; tensors that they only read are inputs of f32."""
    body = parse_cascade(f"cascade example() -> () {{ {statements} }}").statements
    einsums = list(Cascade("example", (), body, ()).einsums())
    defined = {name for einsum in einsums for name, _ in einsum.targets}
    shapes = {}
    for statement in body:
        steps, members = ((statement.rank,), statement.body) if isinstance(statement, Iteration) else ((), (statement,))
        for einsum in members:
            last = {rank.name: rank.extent - 1 for rank in (*steps, *einsum.ranks)}
            for load in walk(einsum.expression):
                if isinstance(load, Load) and load.tensor not in defined:
                    shapes.setdefault(load.tensor, tuple(substitute_index(i, last) + ONE for i in load.index))
    extents = [extent for einsum in einsums for extent in (*einsum.shape, *(rank.extent for rank in einsum.reduced))]
    symbols = sorted({name for extent in extents for name in index_variables(extent)})
    inputs = tuple(Tensor(name, f32, shape, name in WEIGHTS) for name, shape in shapes.items())
    return replace(Cascade("example", inputs, body, (einsums[-1].name,)), symbols=tuple(map(Symbol, symbols)))


def normalise(cascade):
    tensors = cascade.tensors()
    external = (*(tensor.name for tensor in cascade.inputs), *cascade.outputs)
    return normalise_ranks(cascade, {name: contiguous_strides(tensors[name].shape) for name in external})[0]


def prepare(cascade):
    guess = Guess(replace(small_target(), vector_bits=512, vector_registers=32))
    return prepare_operands(cascade, lambda einsum, static: guess.choose_packing(einsum, static, cascade))[0]


# What reroll shows leaves copies out; its own test has them all.
ROWS = find_passes("cascade", small_target(), strict=False)
SHOWN = {row.run: row.run for row in ROWS if row.run is not reroll} | {normalise_ranks: normalise, prepare_operands: prepare}


@pytest.mark.parametrize("named", SHOWN, ids=lambda run: run.__name__)
def test_a_pass_does_what_its_docstring_shows(named):
    before, after = (make_cascade(text) for text in find_example(inspect.getmodule(named).__doc__).split("\n  =>\n"))
    check_cascade(before)
    run = SHOWN[named]
    got = drop_dead(run(before))
    assert str(replace(before, statements=got.statements)) == str(replace(before, statements=after.statements))
    assert before.statements != after.statements
