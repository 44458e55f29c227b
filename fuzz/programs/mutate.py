"""What changes a program: its statements, its inputs, its calls, how it is compiled. `DOMAINS` is the table."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.programs.fill import FLOATS, SIZES, Scope, pick_layout
from tcomp.fuzz.programs.generate import make_call, make_program, make_statement, quiet
from tcomp.fuzz.programs.program import MODES, WAYS, Program, Spec
from tcomp.fuzz.programs.run import build, make_inputs
from tcomp.fuzz.programs.smaller import drop_unused
from tcomp.fuzz.programs.syntax import exchange_at, list_expressions, names_of, rename

WRAPPERS = ("{0}.clone()", "({0} + 0)", "{0}.mT.mT", "{0}.unsqueeze(0).squeeze(0)", "torch.where({0} == {0}, {0}, {0})", "{0}.contiguous()",
            "{0}.view_as({0})", "torch.cat([{0}, {0}])[:{0}.shape[0]]", "{0}.flip(0).flip(0)", "{0}.detach()", "{0} * 1.0", "{0}[...]",
            "{0}.to(torch.float64).to({0}.dtype)", "{0}.T", "{0}.reshape(-1).reshape({0}.shape)")  # fmt: skip
"""What a name may be wrapped in: most of it changes no numbers."""
EXTREMES = (0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129)


def change_statements(choices: Choices, program: Program) -> Program:
    """A statement more, less, another number, another operand, or a name wrapped in what changes nothing."""
    statements = list(program.statements)
    place = choices.integer(0, len(statements) - 1)
    match choices.pick(("insert", "insert", "insert", "delete", "operand", "number", "wrap", "return")):
        case "insert":
            return add_statement(choices, program)
        case "delete" if len(statements) > 2 and place < len(statements) - 1:
            gone = statements.pop(place)
            name = gone.partition(" = ")[0]
            spare = sorted(names_of(gone) & {named.name for named in program.inputs} | names_of(gone) & {f"t{k}" for k in range(place)})
            for later in range(place, len(statements)) if spare else ():
                statements[later] = rename(statements[later], name, spare[0])
        case "operand":
            before = [s.partition(" = ")[0] for s in statements[:place] if re.match(r"t\d+ = ", s)]
            known = [named.name for named in program.inputs] + before
            used = sorted(names_of(statements[place]) & set(known))
            if used:
                statements[place] = rename(statements[place], choices.pick(used), choices.pick(known))
        case "number":
            parts = list_expressions(statements[place])
            numbers = [k for k, node in enumerate(parts) if isinstance(node, ast.Constant) and type(node.value) is int]
            if numbers:
                statements[place] = exchange_at(statements[place], choices.pick(numbers), ast.Constant(choices.integer(-2, 5)))
        case "return":
            made = [s.partition(" = ")[0] for s in statements if re.match(r"t\d+ = ", s)]
            if made:
                statements[-1] = f"return ({', '.join(choices.shuffle(made)[:3])},)"
        case _:
            used = sorted(names_of(statements[place]) & {*(n.name for n in program.inputs), *(f"t{k}" for k in range(place))})
            if used:
                name = choices.pick(used)
                statements[place] = rename(statements[place], name, choices.pick(WRAPPERS).format(name))
    return drop_unused(replace(program, statements=tuple(statements)))


def add_statement(choices: Choices, program: Program) -> Program:
    """A statement more, before the results, of which it is one."""
    scope = Scope({}, list(program.members), list(program.inputs), program.trains)
    with quiet(), torch.set_grad_enabled(program.trains):
        module = build(program)
        scope.values.update(make_inputs(program, 0))
        scope.values.update({f"self.{m.name}": getattr(module, m.name) for m in program.members if isinstance(m.made, Spec)})
        exec("\n".join(program.statements[:-1]), {"torch": torch, "self": module}, scope.values)
        scope.values = {name: value for name, value in scope.values.items() if not name.startswith("__")}
        made = make_statement(choices, scope)
    if made is None:
        return program
    results, name = program.statements[-1], made.partition(" = ")[0]
    if re.fullmatch(r"t\d+", name):
        results = f"return {name}" if chance(choices, 1, 2) else f"return ({name}, {results.removeprefix('return ')})"
    statements = (*program.statements[:-1], made, results)
    return drop_unused(replace(program, members=tuple(scope.members), inputs=tuple(scope.inputs), statements=statements))


def change_inputs(choices: Choices, program: Program) -> Program:
    """Another size, wherever it stands; or another layout, type, or what one input holds."""
    # What is drawn is often what there is.
    tries = (_change_input(choices, program) for _ in range(4))
    return next((changed for changed in tries if changed != program), program)


def _change_input(choices: Choices, program: Program) -> Program:
    places = [k for k, named in enumerate(program.inputs) if isinstance(named.made, Spec)]
    if not places:
        return program
    inputs = list(program.inputs)
    place = choices.pick(places)
    made = inputs[place].made
    assert isinstance(made, Spec)
    match choices.pick(("size", "size", "layout", "layout", "dtype", "values", "alias")):
        case "size" if made.shape:
            return resize(program, choices.pick(made.shape), choices.pick(EXTREMES if chance(choices, 1, 2) else SIZES))
        case "layout":
            inputs[place] = replace(inputs[place], made=replace(made, layout=pick_layout(choices, len(made.shape))))
        case "dtype" if made.dtype in FLOATS:
            return retype(program, made.dtype, choices.pick(FLOATS))
        case "values" if made.dtype in FLOATS:
            inputs[place] = replace(inputs[place], made=replace(made, values=choices.pick(("", "positive", "special"))))
        case "alias" if place:
            other = choices.pick(inputs[:place]).name
            inputs[place] = replace(inputs[place], made=choices.pick((other, f"{other}.mT", f"{other}[1:]", f"{other}.flatten()")))
    return replace(program, inputs=tuple(inputs))


def resize(program: Program, old: int, new: int) -> Program:
    """The program with one size, wherever it stands in inputs, parameters and buffers, another."""

    def change(made: Spec | str) -> Spec | str:
        return replace(made, shape=tuple(new if size == old else size for size in made.shape)) if isinstance(made, Spec) else made

    inputs = tuple(replace(named, made=change(named.made)) for named in program.inputs)
    return replace(program, inputs=inputs, members=tuple(replace(m, made=change(m.made)) for m in program.members))


def retype(program: Program, old: str, new: str) -> Program:
    """The program with all tensors of a type of another."""

    def change(made: Spec | str) -> Spec | str:
        return replace(made, dtype=new) if isinstance(made, Spec) and made.dtype == old else made

    inputs = tuple(replace(named, made=change(named.made)) for named in program.inputs)
    return replace(program, inputs=inputs, members=tuple(replace(m, made=change(m.made)) for m in program.members))


def change_calls(choices: Choices, program: Program) -> Program:
    """A call more, less, or other numbers."""
    calls = list(program.calls)
    match choices.pick(("more", "more", "less", "numbers")):
        case "less" if len(calls) > 1:
            del calls[choices.integer(1, len(calls) - 1)]
        case "numbers":
            return with_option(program, "numbers", choices.integer(0, 9999))
        case _:
            calls.insert(choices.integer(1, len(calls)), make_call(choices, program))
    return replace(program, calls=tuple(calls[:5]))


def change_way(choices: Choices, program: Program) -> Program:
    """Compiled in another way, with other options, or with gradients."""
    match choices.pick(("way", "mode", "dynamic", "threads", "pack", "strict")):
        case "way":
            return replace(program, way=choices.pick(WAYS))
        case "mode":
            return replace(program, mode=choices.pick(MODES))
        case "dynamic":
            return with_option(program, "dynamic", choices.integer(0, 1))
        case "threads":
            return with_option(program, "threads", choices.integer(1, 3))
        case "pack":
            return with_option(program, "pack", choices.integer(0, 2))
    return with_option(program, "strict", choices.integer(0, 1))


def with_option(program: Program, name: str, value: int) -> Program:
    """The program with an option of another value."""
    return replace(program, options=(*(pair for pair in program.options if pair[0] != name), (name, value)))


def start_anew(choices: Choices, program: Program) -> Program:
    """A program that has nothing of this one."""
    return make_program(choices) or program


DOMAINS: Mapping[str, Callable[[Choices, Program], Program]] = {
    "statements": change_statements,
    "inputs": change_inputs,
    "calls": change_calls,
    "way": change_way,
    "new program": start_anew,
}
