"""Programs a step smaller than a given one, the largest steps first; those that eager cannot run fail in no way, and are passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tcomp.fuzz.programs.program import Call, Named, Program, Spec
from tcomp.fuzz.programs.syntax import list_simpler, names_of, rename


def list_smaller(program: Program) -> Iterator[Program]:
    """All of them."""
    for smaller in (*_list_calls(program), *_list_results(program), *_list_statements(program), *_list_plainer(program)):
        yield drop_unused(smaller)
    for smaller in (*_list_specs(program), *_list_sizes(program), *_list_simpler(program)):
        yield drop_unused(smaller)


def drop_unused(program: Program) -> Program:
    """The program without inputs and members that nothing mentions."""
    used = {name for statement in program.statements for name in names_of(statement)}
    inputs = list(program.inputs)
    for named in reversed(program.inputs):
        if named.name not in used and not any(isinstance(n.made, str) and re.search(rf"\b{named.name}\b", n.made) for n in inputs):
            inputs.remove(named)
    actions = " ".join(action for call in program.calls for action in call.actions)
    members = tuple(m for m in program.members if m.name in used or f"m.{m.name}" in actions)
    return replace(program, inputs=tuple(inputs), members=members)


def _list_calls(program: Program) -> Iterator[Program]:
    """With fewer calls, and less in each."""
    calls = program.calls
    if len(calls) > 1:
        yield replace(program, calls=(Call(),))
        for place in range(len(calls)):
            yield replace(program, calls=calls[:place] + calls[place + 1 :])
    for place, call in enumerate(calls):
        for smaller in (
            *([replace(call, sizes=())] if call.sizes else []),
            *([replace(call, layout="")] if call.layout else []),
            *(replace(call, actions=call.actions[:k] + call.actions[k + 1 :]) for k in range(len(call.actions))),
        ):
            yield replace(program, calls=(*calls[:place], smaller, *calls[place + 1 :]))


def _list_results(program: Program) -> Iterator[Program]:
    """With one of the values as the only result."""
    *body, last = program.statements
    for place, statement in enumerate(body):
        name = statement.partition(" = ")[0]
        if re.fullmatch(r"t\d+", name) and last != f"return {name}":
            yield replace(program, statements=(*body[: place + 1], f"return {name}"))
    for name in sorted(names_of(last)):
        if last != f"return {name}":
            yield replace(program, statements=(*body, f"return {name}"))


def _list_statements(program: Program) -> Iterator[Program]:
    """Without a statement: who read its value reads one of its operands."""
    *body, last = program.statements
    for place, statement in enumerate(body):
        rest = [*body[:place], *body[place + 1 :], last]
        name = statement.partition(" = ")[0]
        if not any(name in names_of(later) for later in rest[place:]):
            yield replace(program, statements=tuple(rest))
            continue
        own = names_of(statement) - {name}
        members = {member.name for member in program.members}
        for operand in sorted(own):
            value = f"self.{operand}" if operand in members else operand
            yield replace(program, statements=tuple(rename(later, name, value) if k >= place else later for k, later in enumerate(rest)))


def _list_plainer(program: Program) -> Iterator[Program]:
    """Compiled with fewer options, in the usual way, without gradients."""
    if program.way != "compile":
        yield replace(program, way="compile")
    if program.trains:
        inputs = tuple(replace(n, made=replace(n.made, grad=False)) if isinstance(n.made, Spec) else n for n in program.inputs)
        yield replace(program, mode="inference", inputs=inputs)
    for pair in program.options:
        yield replace(program, options=tuple(other for other in program.options if other != pair))
    numbers = program.option("numbers")
    for number in (1, 2, 3):
        if numbers > number:
            yield replace(program, options=tuple((n, number if n == "numbers" else v) for n, v in program.options))


def _list_specs(program: Program) -> Iterator[Program]:
    """With a parameter or buffer that is an input; with an input, parameter or buffer of the usual layout, type and numbers."""
    actions = " ".join(action for call in program.calls for action in call.actions)
    for member in program.members:
        if isinstance(member.made, Spec) and member.name not in actions and member.name not in {n.name for n in program.inputs}:
            made = replace(member.made, grad=program.trains and member.kind == "parameter")
            statements = tuple(re.sub(rf"\bself\.{member.name}\b", member.name, statement) for statement in program.statements)
            rest = tuple(other for other in program.members if other != member)
            yield replace(program, members=rest, inputs=(*program.inputs, Named("input", member.name, made)), statements=statements)
    for table in ("inputs", "members"):
        rows = getattr(program, table)
        for place, named in enumerate(rows):
            made = named.made
            if not isinstance(made, Spec):
                continue
            plainer = [replace(made, layout="contiguous"), replace(made, values="" if "below" not in made.values else made.values)]
            plainer += [replace(made, dtype="float32")] if made.dtype in ("float64", "float16", "bfloat16") else []
            plainer += [replace(made, grad=False)]
            plainer += [replace(made, shape=made.shape[:d] + made.shape[d + 1 :]) for d in range(len(made.shape))]
            for smaller in plainer:
                if smaller != made:
                    changed = (*rows[:place], replace(named, made=smaller), *rows[place + 1 :])
                    yield _with_rows(program, table, changed)


def _list_sizes(program: Program) -> Iterator[Program]:
    """With one size smaller, wherever it stands; or in one place."""
    specs = [n.made for n in (*program.inputs, *program.members) if isinstance(n.made, Spec)]
    for old in sorted({size for spec in specs for size in spec.shape}, reverse=True):
        for new in dict.fromkeys((1, 2, 3, old // 2, old - 1)):
            if 0 < new < old:
                yield _resize(program, old, new)
                statements = tuple(re.sub(rf"(?<![\w.]){old}(?![\w.])", str(new), s) for s in program.statements)
                if statements != program.statements:
                    yield replace(_resize(program, old, new), statements=statements)
    for table in ("inputs", "members"):
        rows = getattr(program, table)
        for place, named in enumerate(rows):
            for d, size in enumerate(named.made.shape if isinstance(named.made, Spec) else ()):
                for new in dict.fromkeys((1, 2, size // 2)):
                    if 0 < new < size:
                        shape = (*named.made.shape[:d], new, *named.made.shape[d + 1 :])
                        smaller = replace(named, made=replace(named.made, shape=shape))
                        yield _with_rows(program, table, (*rows[:place], smaller, *rows[place + 1 :]))


def _with_rows(program: Program, table: str, rows: tuple[Named, ...]) -> Program:
    return replace(program, inputs=rows) if table == "inputs" else replace(program, members=rows)


def _resize(program: Program, old: int, new: int) -> Program:
    def change(made: Spec | str) -> Spec | str:
        return replace(made, shape=tuple(new if size == old else size for size in made.shape)) if isinstance(made, Spec) else made

    inputs = tuple(replace(named, made=change(named.made)) for named in program.inputs)
    members = tuple(replace(member, made=change(member.made)) for member in program.members)
    calls = tuple(replace(c, sizes=tuple((new if a == old else a, b) for a, b in c.sizes)) for c in program.calls)
    return replace(program, inputs=inputs, members=members, calls=calls)


def _list_simpler(program: Program) -> Iterator[Program]:
    """With a part of one statement in place of the whole, or an argument less."""
    for place, statement in enumerate(program.statements):
        for simpler in list_simpler(statement):
            if simpler != statement:
                yield replace(program, statements=(*program.statements[:place], simpler, *program.statements[place + 1 :]))
