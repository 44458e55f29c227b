"""A program: a PyTorch module, what it is called with, and what happens between calls, as text that is nearly its Python.

    program  := "program" ("inference" | "train") ("compile" | "dynamo") {NAME "=" NUMBER} {member} {input} {statement} {call}
    member   := ("parameter" | "buffer") NAME ":" tensor | ("module" | "attribute") NAME "=" PYTHON
    input    := "input" NAME ":" tensor | "input" NAME "=" PYTHON
    tensor   := DTYPE "[" SIZES "]" [LAYOUT] ["positive" | "special" | "below" INT] ["grad"]
    call     := "call" {OLD "->" NEW} ["as" LAYOUT] [":" PYTHON {";" PYTHON}]

    program inference compile numbers=17 dynamic=1
    parameter w: float32[4, 4]
    input x: float32[3, 4] transposed
    input y = x[1:]
      t0 = torch.relu(x @ self.w)
      return (t0, y)
    call
    call 3->5: m.w.data.mul_(2.0)

Statements are those of `forward`, one a line, the last of which returns. An input of Python is made of the inputs before it, so that it
may share their memory; `Box(a=x, n=1)` is an object with these attributes, which with `keep=1` is the same one at every call. Every call
has numbers of its own; it may have other sizes, wherever a size stands in an input, or another layout, and before it things happen to
the module, which they call `m`. `pack=1` hands all inputs over in a dictionary, `pack=2` in a tuple. The other options are those of
`tcomp.compile`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from tcomp.ir.errors import ParseError

MODES = ("inference", "train")
WAYS = ("compile", "dynamo")
LAYOUTS = ("contiguous", "transposed", "reversed", "sliced", "offset", "expanded", "channels_last")
OPTIONS = ("numbers", "pack", "keep", "dynamic", "threads", "strict", "memory")
PYTHON_KINDS, TENSOR_KINDS = ("module", "attribute"), ("parameter", "buffer")
_TENSOR = re.compile(r"(\w+)\[([\d, ]*)\]((?: \w+)*)$")
_CALL = re.compile(r"call((?: \d+->\d+)*)(?: as (\w+))?(?:: (.*))?$")


@dataclass(frozen=True, slots=True)
class Spec:
    """How a tensor is made."""

    dtype: str
    shape: tuple[int, ...]
    layout: str = "contiguous"
    values: str = ""
    """What it holds: "positive", "special" (with zeros, infinities and NaN among), "below N" for indices, or what is usual."""
    grad: bool = False

    def __str__(self) -> str:
        words = [self.layout] if self.layout != "contiguous" else []
        words += [self.values] if self.values else []
        words += ["grad"] if self.grad else []
        return " ".join([f"{self.dtype}[{', '.join(map(str, self.shape))}]", *words])


@dataclass(frozen=True, slots=True)
class Named:
    """An input, or something that the module has: a tensor, or whatever an expression of Python gives."""

    kind: str
    name: str
    made: Spec | str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.made}" if isinstance(self.made, Spec) else f"{self.kind} {self.name} = {self.made}"


@dataclass(frozen=True, slots=True)
class Call:
    """One call: sizes that are others than in the inputs, a layout for all of them, and what is done to the module before."""

    sizes: tuple[tuple[int, int], ...] = ()
    layout: str = ""
    actions: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = ["call", *(f"{old}->{new}" for old, new in self.sizes)]
        words += [f"as {self.layout}"] if self.layout else []
        return " ".join(words) + (f": {'; '.join(self.actions)}" if self.actions else "")


@dataclass(frozen=True, slots=True)
class Program:
    """One test of the compiler, through its public interface."""

    mode: str
    way: str
    members: tuple[Named, ...]
    inputs: tuple[Named, ...]
    statements: tuple[str, ...]
    calls: tuple[Call, ...] = (Call(),)
    options: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        head = " ".join(["program", self.mode, self.way, *(f"{name}={value}" for name, value in self.options)])
        body = [f"  {statement}" for statement in self.statements]
        return "\n".join([head, *map(str, self.members), *map(str, self.inputs), *body, *map(str, self.calls)]) + "\n"

    def option(self, name: str) -> int:
        """The value of an option, 0 if it has none."""
        return dict(self.options).get(name, 0)

    @property
    def trains(self) -> bool:
        """Whether gradients are taken."""
        return self.mode == "train"


def parse_program(text: str) -> Program:
    """Parse a program: `parse_program(str(p)) == p`. Raises ParseError."""
    members: list[Named] = []
    inputs: list[Named] = []
    statements: list[str] = []
    calls: list[Call] = []
    lines = text.splitlines() or [""]
    head = lines[0].split()
    if head[:1] != ["program"] or len(head) < 3 or head[1] not in MODES or head[2] not in WAYS:
        raise _error("a program begins with: program inference|train compile|dynamo", 0, text)
    options: list[tuple[str, int]] = []
    for word in head[3:]:
        name, _, value = word.partition("=")
        if name not in OPTIONS or not value.isdigit():
            raise _error(f"{word!r} is no option of a program", 0, text)
        options.append((name, int(value)))
    for number, line in enumerate(lines[1:], start=1):
        word = re.split("[ :]", line)[0]
        if line.startswith("  "):
            statements.append(_parse_statement(line.strip(), number, text))
        elif word == "call":
            calls.append(_parse_call(line, number, text))
        elif word == "input":
            inputs.append(_parse_named(line, number, text))
        elif word in (*TENSOR_KINDS, *PYTHON_KINDS):
            members.append(_parse_named(line, number, text))
        elif line.strip():
            raise _error(f"{word!r} begins no line of a program", number, text)
    if not statements or not statements[-1].startswith("return ") or not calls:
        raise _error("a program has statements, of which the last returns, and calls", len(lines) - 1, text)
    return Program(head[1], head[2], tuple(members), tuple(inputs), tuple(statements), tuple(calls), tuple(options))


def parse_spec(text: str) -> Spec | None:
    """The tensor of a text, None if it is none."""
    match = _TENSOR.match(text)
    if match is None:
        return None
    sizes = tuple(int(size) for size in match[2].split(",") if size.strip())
    words, layout, values, grad = match[3].split(), "contiguous", "", False
    while words:
        word = words.pop(0)
        if word in LAYOUTS:
            layout = word
        elif word == "below" and words and words[0].isdigit():
            values = f"below {words.pop(0)}"
        elif word in ("positive", "special"):
            values = word
        elif word == "grad":
            grad = True
        else:
            return None
    return Spec(match[1], sizes, layout, values, grad)


def _parse_named(line: str, number: int, text: str) -> Named:
    match = re.match(r"(\w+) (\w+)(: | = )(.+)$", line)
    made = None if match is None else parse_spec(match[4]) if match[3] == ": " else match[4]
    if match is None or made is None or (match[1] in TENSOR_KINDS and isinstance(made, str)):
        raise _error("a line says what it names: KIND NAME: DTYPE[SIZES], or KIND NAME = PYTHON", number, text)
    return Named(match[1], match[2], made)


def _parse_statement(line: str, number: int, text: str) -> str:
    try:
        ast.parse(f"def forward():\n  {line}")
    except SyntaxError as error:
        raise _error(f"it is no statement of Python: {error.msg}", number, text) from error
    return line


def _parse_call(line: str, number: int, text: str) -> Call:
    match = _CALL.match(line)
    if match is None or (match[2] and match[2] not in LAYOUTS):
        raise _error("a call is: call {OLD->NEW} [as LAYOUT] [: PYTHON {; PYTHON}]", number, text)
    pairs = [pair.split("->") for pair in match[1].split()]
    actions = tuple(action for action in (match[3] or "").split("; ") if action)
    return Call(tuple((int(old), int(new)) for old, new in pairs), match[2] or "", actions)


def _error(what: str, line: int, text: str) -> ParseError:
    return ParseError(what, line=line + 1, column=1, source=text, help="the grammar is in tcomp/fuzz/programs/program.py")
