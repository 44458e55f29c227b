"""Random programs that eager can run: each statement is run on the values there are before it is kept, on the CPU and with real numbers.

Sizes are small, so that this costs less than shapes by themselves would, and it tells more: that indices are inside, that numbers do not
grow without bound, that memory that is shared may be written to.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.programs.fill import LARGEST, RARE_SIZES, SIZES, Scope, add_input, fill, make_input
from tcomp.fuzz.programs.inferred import replay
from tcomp.fuzz.programs.program import LAYOUTS, Call, Named, Program, Spec
from tcomp.fuzz.programs.rules import ACTIONS, BUFFERS, EFFECTS, LONG, MODULES, OBJECTS, RULES
from tcomp.fuzz.programs.run import Box, run_program
from tcomp.fuzz.programs.smaller import drop_unused
from tcomp.fuzz.programs.syntax import names_of

ATTEMPTS = 12
"""Draws of one statement before it is left out."""
LARGE = 1e5
"""Numbers that are seldom let through: what follows from them is mostly infinite."""
LARGE_INPUTS = ((1 << 16,), (3, 1 << 15), (1 << 18,), (257, 513), (64, 1024), (1 << 21,))
"""Shapes of inputs of programs with few statements, where long sums and memory are looked at."""


def make_program(choices: Choices) -> Program | None:
    """A program. None if it came out with nothing to return."""
    scope = Scope(trains=chance(choices, 1, 3))
    is_large = chance(choices, 1, 12)
    if is_large:
        add_input(scope, Spec("float32", choices.pick(LARGE_INPUTS), grad=scope.trains))
    else:
        for _ in range(choices.integer(1, 2)):
            make_input(choices, "f", choices.pick((0, 1, 2, 2, 3, 3, 4)), scope)
        if chance(choices, 1, 6):
            _add_alias(choices, scope)
        if chance(choices, 1, 6):
            _add_number(choices, scope)
        if chance(choices, 1, 6):
            _add_box(choices, scope)
    statements: list[str] = []
    with quiet(), torch.set_grad_enabled(scope.trains):
        for _ in range(choices.pick((1, 2) if is_large else (1, 2, 3, 4, 6, 8))):
            made = make_statement(choices, scope, LONG if is_large else RULES)
            if made is not None:
                statements.append(made)
    results = _pick_results(choices, statements, scope)
    if results is None:
        return None
    has_box = any(isinstance(value, Box) for value in scope.values.values())
    options = _make_options(choices, is_large=is_large and not scope.trains, has_box=has_box)
    way = choices.pick(("compile", "compile", "dynamo"))
    mode = "train" if scope.trains else "inference"
    program = Program(mode, way, tuple(scope.members), tuple(scope.inputs), (*statements, f"return {results}"), (Call(),), options)
    program = drop_unused(program)
    with quiet():
        if run_program(program)[0].error is not None:
            return None
        return replace(program, calls=make_calls(choices, program))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Warnings of programs are nobody's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make_statement(choices: Choices, scope: Scope, rules: Sequence[str] = RULES) -> str | None:
    """A statement that runs, mostly of the given rules, whose result is in the scope from then on. None if none was found."""
    for _ in range(ATTEMPTS):
        trial = Scope(dict(scope.values), list(scope.members), list(scope.inputs), scope.trains)
        try:
            statement = _draw(choices, trial, rules)
            _run(statement, trial)
        # What does not run is drawn again: NoFit, and whatever PyTorch says.
        except Exception:  # noqa: BLE001
            continue
        if not all(_is_tame(choices, value) for name, value in trial.values.items() if name not in scope.values):
            continue
        scope.values, scope.members, scope.inputs = trial.values, trial.members, trial.inputs
        return statement
    return None


def _draw(choices: Choices, scope: Scope, rules: Sequence[str]) -> str:
    kind = choices.integer(0, 19) if rules is RULES else 19
    name = scope.fresh("t")
    boxes = [known for known, value in scope.values.items() if isinstance(value, Box)]
    if boxes and rules is RULES and chance(choices, 1, 2):
        template = choices.pick(OBJECTS).replace("o.", f"{choices.pick(boxes)}.")
        return fill(choices, template.replace("t = ", f"{name} = ") if template.startswith("t = ") else template, scope)
    if kind < 2:
        return fill(choices, choices.pick(EFFECTS), scope)
    if kind == 2:
        template = choices.pick(BUFFERS).replace("self.<b", "<b")
        if "self.n" in template and not any(m.name == "n" for m in scope.members):
            scope.members.append(Named("attribute", "n", "1"))
        return fill(choices, template, scope)
    if kind == 3:
        return _draw_module(choices, scope, name)
    if kind < 6:
        return f"{name} = {replay(choices, scope)}"
    return f"{name} = {fill(choices, choices.pick(rules), scope)}"


def _draw_module(choices: Choices, scope: Scope, name: str) -> str:
    takes, made = choices.pick(MODULES)
    operand = fill(choices, takes, scope)
    member = Named("module", scope.fresh("l"), made.format(s=tuple(scope.values[operand].shape)))
    scope.members.append(member)
    scope.values[f"self.{member.name}"] = eval(str(member.made), {"torch": torch})
    return f"{name} = self.{member.name}({operand}){'[0]' if 'GRU' in str(made) or 'LSTM' in str(made) else ''}"


def _run(statement: str, scope: Scope) -> None:
    """Run a statement on the values of a scope; what it assigns is in the scope afterwards."""
    holder = nn.Module()
    for member in scope.members:
        value = scope.values.get(f"self.{member.name}")
        if value is not None:
            setattr(holder, member.name, value)
        elif isinstance(member.made, str):
            setattr(holder, member.name, eval(member.made, {"torch": torch}))
    names: dict[str, Any] = {name: _copy_box(value) for name, value in scope.values.items() if "." not in name}
    # Views of what is written see it, copies do not: so tensors are copied together, and written only if all goes well.
    exec(statement, {"torch": torch, "self": holder}, names)
    scope.values.update({name: value for name, value in names.items() if isinstance(value, (Tensor, Box))})


def _copy_box(value: Any) -> Any:
    """Another object that holds the same tensors, if it is one: a statement that fails leaves the one there is as it was."""
    if not isinstance(value, Box):
        return value
    return Box(**{name: item.copy() if isinstance(item, (list, dict)) else item for name, item in vars(value).items()})


def _is_tame(choices: Choices, value: object) -> bool:
    if not isinstance(value, Tensor) or not value.numel() or not (value.is_floating_point() or value.is_complex()):
        return not isinstance(value, Tensor) or value.numel() <= 4 * LARGEST
    most = value.detach().abs().float().amax()
    return (bool(most < LARGE) and value.numel() <= 256 * LARGEST) or chance(choices, 1, 12)


def _add_alias(choices: Choices, scope: Scope) -> None:
    named = choices.pick(scope.inputs)
    tensor = scope.values[named.name]
    views = [named.name, f"{named.name}.detach()", f"{named.name}.t()" if tensor.dim() <= 2 else f"{named.name}.mT"]
    if tensor.dim() and tensor.shape[0]:
        views += [f"{named.name}{part}" for part in ("[1:]", "[:-1]", "[0]", "[..., ::2]")]
    made = choices.pick(views)
    name = scope.fresh("x")
    scope.inputs.append(Named("input", name, made))
    scope.values[name] = eval(made, {"torch": torch, **scope.values})


def _add_number(choices: Choices, scope: Scope) -> None:
    name, made = scope.fresh("n"), choices.pick(("2", "3", "0.5", "-1.5", "True", "1"))
    scope.inputs.append(Named("input", name, made))
    scope.values[name] = torch.tensor(eval(made))


def _add_box(choices: Choices, scope: Scope) -> None:
    tensor = choices.pick([named.name for named in scope.inputs if isinstance(named.made, Spec)])
    made = f"Box(a={tensor}{choices.pick((' + 0', ' + 0', ''))}, n={choices.integer(0, 3)}, flag=True, items=[{tensor} * 2], store={{}})"
    name = scope.fresh("o")
    scope.inputs.append(Named("input", name, made))
    scope.values[name] = eval(made, {"torch": torch, "Box": Box, **scope.values})


def _pick_results(choices: Choices, statements: list[str], scope: Scope) -> str | None:
    """What is returned: the last value, and perhaps others, as they are, in a tuple, a list or a dictionary."""
    made = [name for name, value in scope.values.items() if re.fullmatch(r"t\d+", name) and isinstance(value, Tensor)]
    changed = [n.name for n in scope.inputs if isinstance(n.made, Spec) and any(n.name in names_of(s) for s in statements)]
    changed += [name for name, value in scope.values.items() if isinstance(value, Box) and chance(choices, 1, 3)]
    if not made:
        return changed[0] if changed else None
    read = {name for statement in statements for name in names_of(statement) - {statement.partition(" = ")[0]}}
    ends = [name for name in made if name not in read]
    if chance(choices, 1, 3):
        return made[-1]
    if len(ends) > 1 and chance(choices, 2, 3):
        return f"({', '.join(ends)})"
    more = choices.shuffle([*made, *changed])[: choices.integer(1, 3)]
    names = list(dict.fromkeys((made[-1], *more)))
    match choices.integer(0, 3):
        case 0:
            return "{" + ", ".join(f"'{name}': {name}" for name in names) + "}"
        case 1:
            return f"[{', '.join(names)}]"
        case 2 if len(names) > 1:
            return f"({names[0]}, ({', '.join(names[1:])},))"
    return f"({', '.join(names)},)"


def _make_options(choices: Choices, *, is_large: bool, has_box: bool) -> tuple[tuple[str, int], ...]:
    options: Mapping[str, int] = {
        "numbers": choices.integer(0, 9999),
        "pack": choices.integer(1, 2) if chance(choices, 1, 6) else 0,
        "keep": choices.integer(0, 1) if has_box else 0,
        "threads": choices.pick((0, 0, 2)),
        "strict": int(chance(choices, 1, 8)),
        "memory": int(is_large and chance(choices, 1, 2)),
    }
    dynamic = (("dynamic", choices.integer(0, 1)),) if chance(choices, 1, 3) else ()
    return (*((name, value) for name, value in options.items() if value), *dynamic)


def make_calls(choices: Choices, program: Program) -> tuple[Call, ...]:
    """A first call, and others of which eager can run nearly all."""
    calls = [Call()]
    for _ in range(choices.pick((0, 0, 1, 1, 2, 3))):
        for _ in range(4):
            tried = (*calls, make_call(choices, program))
            if run_program(replace(program, calls=tried))[-1].error is None or chance(choices, 1, 16):
                calls = list(tried)
                break
    return tuple(calls)


def make_call(choices: Choices, program: Program) -> Call:
    """A later call, with or without other sizes, another layout, and changes to the module before it."""
    specs = [named.made for named in program.inputs if isinstance(named.made, Spec)]
    sizes = sorted({size for spec in specs for size in spec.shape})
    changed: list[tuple[int, int]] = []
    if sizes and chance(choices, 1, 2):
        old = choices.pick(sizes)
        changed.append((old, choices.pick(RARE_SIZES) if chance(choices, 1, 5) else choices.pick(SIZES)))
    layout = choices.pick(LAYOUTS) if chance(choices, 1, 6) else ""
    actions = tuple(make_action(choices, program) for _ in range(choices.pick((0, 0, 1, 2))))
    return Call(tuple(changed), layout, tuple(a for a in actions if a))


def make_action(choices: Choices, program: Program) -> str:
    """Something that happens to the module between calls; empty where it has nothing that could be changed."""
    members = {
        "w": [m.name for m in program.members if m.kind == "parameter"],
        "b": [m.name for m in program.members if m.kind == "buffer"],
        "s": [m.name for m in program.members if "Sequential" in str(m.made)],
        "l": [m.name for m in program.members if m.kind == "module" and not any(w in str(m.made) for w in ("Seq", "GRU", "LSTM", "Ident"))],
    }
    able = [a for a in ACTIONS if all(members[hole] for hole in re.findall(r"(?<!{){(\w)}", a))]
    able = [a for a in able if a != "m.n = 5" or any(m.name == "n" for m in program.members)]
    if not program.members:
        return ""
    return choices.pick(able).format(**{hole: choices.pick(names) for hole, names in members.items() if names})
