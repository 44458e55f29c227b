"""Operators as they were seen: samples of PyTorch's operator database, replayed with other numbers where those are valid.

`traces.txt` has one invocation a line, a template of Python whose tensors are `<DTYPE[SIZES]>`; `harvest.py` wrote it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from torch import Tensor

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.programs.fill import LARGEST, NoFit, Scope, add_input, pick_layout
from tcomp.fuzz.programs.program import Spec, parse_spec

TRACES = Path(__file__).with_name("traces.txt")
_TENSOR = re.compile(r"<([^<>]*)>")
_INTEGER = re.compile(r"(?<![\w.<\[])-?\d+(?![\w.])")


@cache
def read_traces() -> dict[str, tuple[str, ...]]:
    """The invocations, by operator."""
    found: dict[str, list[str]] = {}
    for line in TRACES.read_text().splitlines():
        found.setdefault(line.partition("(")[0], []).append(line)
    return {name: tuple(lines) for name, lines in found.items()}


def replay(choices: Choices, scope: Scope) -> str:
    """An invocation that was seen, on values of the same kind where there are some, with a size or a number changed now and then."""
    traces = read_traces()
    line = choices.pick(traces[choices.pick(tuple(traces))])
    sizes: dict[int, int] = {}
    if chance(choices, 1, 2):
        # A size changes wherever it stands: of operands that have to agree, both.
        known = sorted({size for match in _TENSOR.finditer(line) for size in _parse(match[1]).shape})
        if known:
            old = choices.pick(known)
            sizes[old] = choices.pick((1, 2, 3, 5, 8, old + 1, max(0, old - 1)))

    def put(match: re.Match[str]) -> str:
        spec = _parse(match[1])
        shape = tuple(sizes.get(size, size) for size in spec.shape)
        fitting = [
            name for name, value in scope.values.items()
            if isinstance(value, Tensor) and tuple(value.shape) == shape and str(value.dtype) == f"torch.{spec.dtype}"
        ]  # fmt: skip
        if fitting and not spec.values and chance(choices, 3, 4):
            return choices.pick(fitting)
        grad = scope.trains and spec.dtype.startswith("float") and chance(choices, 1, 2)
        return add_input(scope, Spec(spec.dtype, shape, pick_layout(choices, len(shape)), spec.values, grad))

    text = _TENSOR.sub(put, line)
    if chance(choices, 1, 3):
        places = list(_INTEGER.finditer(text))
        if places:
            place = choices.pick(places)
            text = f"{text[: place.start()]}{int(place[0]) + choices.pick((-1, 1, 2))}{text[place.end() :]}"
    return text


def _parse(text: str) -> Spec:
    spec = parse_spec(text)
    if spec is None or any(size > LARGEST for size in spec.shape):
        raise NoFit(text)
    return spec
