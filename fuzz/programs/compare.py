"""Compares what a compiled program does with what it does in eager: exactly what has to be the same, and numbers by float64.

There is no tolerance that holds for all. A number may differ from the one of float64 by a few times what eager's does, here or on
inputs and parameters a few units in the last place away, and by what the exact results of those differ among one another, which is how
far any algorithm's may, if it is stable. Where eager's results on such neighbours are other integers, or not all finite, nothing is
asked. What nearly equals eager's own result is right in any case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from tcomp.fuzz.programs.program import Program
from tcomp.fuzz.programs.run import WIDE, Record, Seen, moved, run_program

NEIGHBOURS = 4
SLACK = 8.0
"""Times the error of eager and the spread of neighbours that a number may be off."""
NEAR = 2.0
"""Units in the last place by which a number may differ from eager's without more ado."""


@dataclass(frozen=True)
class Difference:
    """What is otherwise than in eager: by which oracle, in which call, and what."""

    oracle: str
    call: int
    what: str
    about: str = ""
    """Which tensor."""


class References:
    """A program's results in float64, and on neighbours of its inputs, made when they are asked for."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @cached_property
    def wide(self) -> list[Record]:
        """In float64."""
        return run_program(self.program, variant=WIDE)

    @cached_property
    def neighbours(self) -> list[tuple[list[Record], list[Record]]]:
        """Eager's results, and those in float64, on the same neighbour of the inputs."""
        runs = [(moved(seed), moved(seed, is_wide=True)) for seed in range(NEIGHBOURS)]
        return [(run_program(self.program, variant=a), run_program(self.program, variant=b)) for a, b in runs]


def find_difference(program: Program, ours: list[Record], eager: list[Record], *, numbers_only: bool = False) -> Difference | None:
    """The first thing that is otherwise than in eager; with `numbers_only`, of the types, shapes and numbers of results."""
    references = References(program)
    if numbers_only:
        ours, eager = _list_comparable(ours, eager)
    for number, (got, want) in enumerate(zip(ours, eager)):
        found = _compare_call(number, got, want, references)
        if found is not None or want.error is not None:
            return found
    return None


def _list_comparable(ours: list[Record], eager: list[Record]) -> tuple[list[Record], list[Record]]:
    """The numbers of calls before the first that writes to something."""
    first = next((number for number, record in enumerate(eager) if record.written), len(eager))
    pairs = list(zip(ours, eager))[:first]
    return [_numbers_of(got, want) for got, want in pairs], [_numbers_of(want, want) for _, want in pairs]


def _numbers_of(record: Record, like: Record) -> Record:
    seen = {}
    for name, result in record.results.items():
        same = like.results.get(name)
        hidden = result if same is None else replace(result, strides=same.strides, requires_grad=same.requires_grad)
        seen[name] = hidden
    # Structure is not theirs: see `converters`.
    return Record(record.error, like.structure, seen)


def _compare_call(call: int, got: Record, want: Record, references: References) -> Difference | None:
    if want.error is not None or got.error is not None:
        if want.error is None:
            assert got.error is not None
            return Difference("exception", call, f"{type(got.error).__name__}: {got.error}")
        return None if got.error is not None else Difference("errors", call, f"eager raises {type(want.error).__name__}: {want.error}")
    if got.structure != want.structure:
        return Difference("structure", call, f"results are {got.structure} instead of {want.structure}")
    for part in ("results", "gradients", "after"):
        ours, theirs = getattr(got, part), getattr(want, part)
        if ours.keys() != theirs.keys():
            missing = sorted(ours.keys() ^ theirs.keys())
            return Difference(_oracle(part), call, f"{part} differ in {missing}")
        for name in theirs:
            found = _compare_kinds(_oracle(part), call, name, ours[name], theirs[name], has_strides=part == "results")
            if found is not None:
                return found
    for part in ("results", "after", "gradients"):
        for name in getattr(want, part):
            what = _compare_values(call, part, name, got, want, references)
            if what is not None:
                return Difference(_oracle(part), call, what, name)
    if got.aliases != want.aliases:
        extra, lost = sorted(got.aliases - want.aliases), sorted(want.aliases - got.aliases)
        return Difference("aliasing", call, f"memory shared that eager does not share: {extra}; not shared that it does: {lost}")
    if got.state != want.state:
        names = sorted(name for name in got.state.keys() | want.state.keys() if got.state.get(name) != want.state.get(name))
        first = names[0]
        return Difference("state", call, f"{first} is {got.state.get(first)} instead of {want.state.get(first)}")
    # A write that is counted although eager does not (`x.data.add_`) does no harm.
    if want.written - got.written:
        return Difference("state", call, "a write is not counted as in eager", sorted(want.written - got.written)[0])
    return None


def _oracle(part: str) -> str:
    return {"results": "values", "gradients": "gradients", "after": "mutation"}[part]


def _compare_kinds(oracle: str, call: int, name: str, got: Seen, want: Seen, *, has_strides: bool) -> Difference | None:
    if got.dtype != want.dtype or got.shape != want.shape:
        return Difference("types", call, f"{name} is {got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}", name)
    # A stride along which there is one element leads nowhere: what PyTorch says of it depends on how a result was made.
    if has_strides and any(ours != theirs for size, ours, theirs in zip(want.shape, got.strides, want.strides) if size != 1):
        return Difference("strides", call, f"{name} has strides {got.strides} instead of {want.strides} of {list(want.shape)}", name)
    if got.requires_grad != want.requires_grad:
        return Difference("gradients", call, f"{name} requires_grad is {got.requires_grad} instead of {want.requires_grad}", name)
    return None


def _compare_values(call: int, part: str, name: str, got: Record, want: Record, references: References) -> str | None:
    """Say where numbers are wrong, None if they are right."""
    ours, theirs = (getattr(record, part)[name].values for record in (got, want))
    if _same(ours, theirs).all():
        return None

    def read(records: list[Record]) -> Tensor | None:
        seen = getattr(records[call], part).get(name) if call < len(records) else None
        return None if seen is None or seen.values.shape != theirs.shape else seen.values

    wide = read(references.wide)
    pairs = [(read(eager), read(exact)) for eager, exact in references.neighbours]
    if wide is None or any(a is None or b is None for a, b in pairs):
        # Data decide whether it fails: nothing follows from it.
        return None
    complete = [(a, b) for a, b in pairs if a is not None and b is not None]
    if ours.is_complex():
        ours, theirs, wide = (torch.view_as_real(tensor) for tensor in (ours, theirs, wide))
        complete = [(torch.view_as_real(a), torch.view_as_real(b)) for a, b in complete]
    if not theirs.is_floating_point():
        stable = torch.stack([(a == theirs) & (b == theirs) for a, b in complete]).all(0) & (wide == theirs)
        return _say(name, (ours != theirs) & stable, ours, theirs, torch.zeros(theirs.shape))
    return _compare_floats(name, ours, theirs, wide, complete)


def _compare_floats(name: str, ours: Tensor, theirs: Tensor, wide: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> str | None:
    info = torch.finfo(theirs.dtype)
    found, eager, exact = ours.double(), theirs.double(), wide.double()
    others = [(a.double(), b.double()) for a, b in pairs]
    finite = eager.isfinite()
    stable = torch.stack([finite == exact.isfinite(), *(t.isfinite() == finite for pair in others for t in pair)]).all(0)
    errors = torch.stack([(eager - exact).abs(), *((a - b).abs() for a, b in others)]).nan_to_num(0.0, 0.0, 0.0)
    spread = torch.stack([(b - exact).abs() for _, b in others]).nan_to_num(0.0, 0.0, 0.0).amax(0)
    # Of one element eager's error may be small by chance: those of all are its scale.
    most = errors.amax(0)
    size = exact.abs().nan_to_num(0.0, 0.0, 0.0)
    scale = (most.sum() / max(1, most.numel())) if most.numel() else 0.0
    # Nothing is wider than float64: what eager's error is shows in the spread alone, of which four neighbours are a small sample.
    slack = SLACK if theirs.dtype != torch.float64 else SLACK * SLACK
    bound = slack * (torch.maximum(most, torch.as_tensor(scale)) + spread) + NEAR * info.eps * size + 8 * info.smallest_normal
    finite = exact.isfinite() & eager.isfinite()
    right = torch.where(finite, (found - exact).abs() <= bound, _same(ours, theirs) | (found == exact))
    near = _same(ours, theirs) | ((found - eager).abs() <= NEAR * info.eps * eager.abs() + info.smallest_normal)
    return _say(name, ~(right | near) & stable, found, exact, bound)


def _same(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | (a.isnan() & b.isnan()) if a.is_floating_point() or a.is_complex() else a == b


def _say(name: str, wrong: Tensor, found: Tensor, exact: Tensor, bound: Tensor) -> str | None:
    if not wrong.any():
        return None
    place = int(wrong.reshape(-1).int().argmax())
    a, b, most = (tensor.reshape(-1)[place].item() for tensor in (found, exact, bound))
    return f"{name} element {place} is {a}, not {b}, and may be off by {most:.3g}"
