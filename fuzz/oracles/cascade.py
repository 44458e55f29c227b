"""What must hold of a seed, cheapest first: `ORACLES` is the list, `examine` asks them in turn.

An oracle raises `Wrong`, which names what is guilty: a pass, a stage, a kernel's generator. Any other exception outside the errors
that a stage may answer with is wrong as well, and so are those inside them where nothing was there to be refused.
"""

from __future__ import annotations

import importlib
import itertools
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy

from tcomp.fuzz.finding import Finding
from tcomp.fuzz.generators.cascades import MOST_POINTS, count_points
from tcomp.fuzz.oracles.bounds import bound_of, with_bounds
from tcomp.fuzz.oracles.native import Native, Outside
from tcomp.fuzz.oracles.tiles import run_tiles
from tcomp.fuzz.seed import Seed, parse_seed
from tcomp.ir.cascade import Cascade
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.check.tile_bounds import UNBOUNDED_STEP
from tcomp.ir.errors import Illegal, TcompError, Unsupported, VerifyError
from tcomp.ir.evaluate.arrays import Array, round_float, storage
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.ir.target import Cpu, Gpu
from tcomp.passes.check import verifying_observer
from tcomp.passes.choose import Guess
from tcomp.passes.pipeline import PIPELINE, apply, compile_cascade
from tcomp.passes.program import Compiled
from tcomp.settings import read_settings

REWRITES: Mapping[str, Callable[[Cascade], Cascade]] = {row.name: row.run for row in PIPELINE if row.on == "cascade"}
"""The passes that map a cascade to a cascade, by name."""
SLACK = 8.0
"""By how much bounds may be exceeded: a pass may reorder a computation, whose bound is then another one of the same size."""
SMALLEST = 1e-300
"""What is smaller is not looked at: denormal numbers may be taken for zero."""
FRAMES = 3
"""Innermost functions of ours that tell one exception from another."""


class Wrong(Exception):  # noqa: N818 (it is what is found)
    """Something is wrong: by which oracle, whose fault it is, and what."""

    def __init__(self, oracle: str, guilty: str, what: str, where: str = "") -> None:
        super().__init__(oracle, guilty, what, where)
        self.oracle, self.guilty, self.what, self.where = oracle, guilty, what, where


@dataclass
class Examination:
    """A seed, and what has been found out about it so far."""

    seed: Seed
    features: set[str] = field(default_factory=set)
    """What happened: passes that changed something, kinds of kernels that were made."""
    sees_stages: bool = True
    """Whether what stands between a cascade and its results is verified and evaluated, too."""

    @cached_property
    def inputs(self) -> dict[str, Array]:
        """What the inputs hold, as float64 oracles take it: numbers of each element type."""
        return make_inputs(self.seed.cascade, self.seed.numbers, dict(self.seed.sizes))

    @cached_property
    def expected(self) -> dict[str, Array]:
        """Outputs and their bounds, for roundings of the element types."""
        return evaluate(with_bounds(self.seed.cascade), self.inputs, dict(self.seed.sizes), float64=True)

    @cached_property
    def compiled(self) -> Compiled:
        """The cascade compiled for the target, every stage of it checked."""
        observer = _Observer(self)
        try:
            watch = observer.observe if self.sees_stages else observer.note
            return compile_cascade(self.seed.cascade, {}, self.seed.target, watch, strict=self.seed.strict)
        except Wrong:
            raise
        except Exception as error:
            raise Wrong("exception", f"after {observer.stage}", _tell(error), _trace(error)) from error

    def compare(self, oracle: str, guilty: str, found: Mapping[str, Array], roundoff: float, where: str = "") -> None:
        """Raise Wrong if outputs are farther from the expected ones than operations of this relative error may bring them."""
        for name in self.seed.cascade.outputs:
            message = describe_excess(found[name], self.expected[name], self._bound(name, roundoff), keeps_nan=self.seed.strict)
            if message is not None:
                raise Wrong(oracle, guilty, f"{name}: {message}", where)

    def _bound(self, name: str, roundoff: float) -> Array | None:
        bound = self.expected.get(bound_of(name))
        # Bounds grow in proportion to what one rounding may lose, which was that of f32.
        return None if bound is None else bound * (SLACK * roundoff / F32)


F32, F64 = 2.0**-24, 2.0**-53
"""What one rounding may lose, relative to its result."""


def describe_excess(found: Array, expected: Array, bound: Array | None, *, keeps_nan: bool = False) -> str | None:
    """Say where results are farther from the expected ones than a bound, None if they are not. Without a bound they are equal.

    Where a bound is NaN, which comes of infinities and NaN, nothing is known; but with `keeps_nan`, for numerics that reorder nothing,
    what is NaN and what is not remains so.
    """
    if found.size != expected.size:
        return f"it has {found.size} elements, and not {expected.size}"
    got, want = found.reshape(-1), expected.reshape(-1)
    if want.dtype.kind != "f":
        limit = numpy.zeros(want.shape) if bound is None else bound.reshape(-1)
        wrong = (got != want) & ~numpy.isinf(limit)
    else:
        limit = numpy.zeros(want.shape) if bound is None else bound.reshape(-1) + SMALLEST
        with numpy.errstate(invalid="ignore"):
            is_far = ~(numpy.abs(got.astype(numpy.float64) - want) <= limit) & ~numpy.isinf(limit) & ~numpy.isnan(limit)
            same = (got == want) | (numpy.isnan(got) & numpy.isnan(want))
        wrong = is_far & ~same
        if keeps_nan:
            wrong |= numpy.isnan(limit) & (numpy.isnan(got) != numpy.isnan(want))
    if not wrong.any():
        return None
    place = int(numpy.argmax(wrong))
    return f"element {place} is {got[place]}, not {want[place]}, and may be off by {limit[place]:.3g}"


def make_inputs(cascade: Cascade, numbers: int, sizes: Mapping[str, int] | None = None) -> dict[str, Array]:
    """Random numbers for the inputs of a cascade, as float64 oracles take them: floats around zero, indices in 0..3.

    Where `numbers` is 0 integers are 0, which as indices are right anywhere.
    """
    generator = numpy.random.default_rng(numbers)
    arrays: dict[str, Array] = {}
    for tensor in cascade.inputs:
        shape = [extent_value(extent, sizes or {}) for extent in tensor.shape]
        if tensor.dtype.is_float:
            narrow = generator.standard_normal(shape).astype(numpy.float32)
            arrays[tensor.name] = numpy.asarray(round_float(narrow, tensor.dtype)).astype(numpy.float64)
        else:
            most = 2 if tensor.dtype.kind == "bool" else 4 if numbers else 1
            arrays[tensor.name] = numpy.asarray(generator.integers(0, most, shape)).astype(storage(tensor.dtype))
    return arrays


class _Observer:
    """Checks every stage of a compilation, and evaluates each cascade that is not the one before it."""

    def __init__(self, examination: Examination) -> None:
        self.examination = examination
        self.verify = verifying_observer()
        self.stage = "the beginning"
        self.before: Any = None

    def note(self, stage: str, result: object) -> None:
        """Remember how far the compilation came."""
        self.stage = stage

    def observe(self, stage: str, result: object) -> None:
        """Raise Wrong if a stage is not legal, or its cascade means something else than the one before."""
        try:
            self.verify(stage, result)
        except VerifyError as error:
            raise Wrong("verifier", stage, error.what, error.where) from error
        self.stage = stage
        if not isinstance(result, Cascade) or stage in ("prelude", "main"):
            return
        if self.before is not None and result != self.before:
            self.examination.features.add(f"pass {stage}")
            check_rewriting(self.examination, stage, self.before, result)
        self.before = result


def check_rewriting(examination: Examination, name: str, before: Cascade, after: Cascade) -> None:
    """Raise Wrong if a rewritten cascade does not mean what the seed's means."""
    sizes = dict(examination.seed.sizes)
    inputs = {t.name: examination.inputs[t.name].reshape([extent_value(e, sizes) for e in t.shape]) for t in after.inputs}
    try:
        found = evaluate(after, inputs, sizes, float64=True)
    except TcompError as error:
        raise Wrong("evaluator", name, _tell(error), _both(before, after)) from error
    # Outputs keep their places; a pass may call them otherwise.
    named = dict(zip(examination.seed.cascade.outputs, (found[output] for output in after.outputs), strict=True))
    examination.compare("evaluator", name, named, F64, _both(before, after))


def check_text(examination: Examination) -> None:
    """A seed's text parses to the seed."""
    seed = examination.seed
    if parse_seed(str(seed)) != seed:
        raise Wrong("text", "parse_seed", "it parses to another seed", str(parse_seed(str(seed))))


def check_passes(examination: Examination) -> None:
    """Every pass of the seed leaves a cascade that is legal and means the same, in whatever order they run."""
    cascade = start = examination.seed.cascade
    for name in examination.seed.passes:
        before, cascade = cascade, REWRITES[name](cascade)
        if cascade is before:
            continue
        examination.features.add(f"pass {name}")
        if examination.sees_stages:
            _check_pass(examination, name, before, cascade)
    if cascade is not start and not examination.sees_stages:
        _check_pass(examination, "a pass", start, cascade)


def _check_pass(examination: Examination, name: str, before: Cascade, after: Cascade) -> None:
    """Raise Wrong if what became of a cascade is not legal, or means something else."""
    try:
        check_cascade(after)
    except VerifyError as error:
        raise Wrong("verifier", name, error.what, _both(before, after)) from error
    check_rewriting(examination, name, before, after)


def check_stages(examination: Examination) -> None:
    """Every stage of compiling it is legal, and every cascade on the way means the same."""
    compiled = examination.compiled
    for group in compiled.main.groups:
        dtypes = ",".join(sorted({dtype.name for e in group.members for _, dtype in e.targets}))
        ranks = max(len(e.ranks) for e in group.members)
        examination.features.add(f"kernel {group.kind} {dtypes} {ranks} of {type(examination.seed.target).__name__}")


def check_schedule_text(examination: Examination) -> None:
    """The schedule that was guessed, as text, gives the same kernels when it is applied."""
    seed, compiled = examination.seed, examination.compiled
    again = apply(seed.cascade, parse_schedule(str(compiled.schedule)), seed.target, strict=seed.strict)
    if again != compiled:
        raise Wrong("schedule", "apply", "applying the guessed schedule gives another program", str(compiled.schedule))


def check_tiles(examination: Examination) -> None:
    """Tile programs, run along the plan with instances in random order, give what the cascade means."""
    seed = examination.seed
    found = run_tiles(examination.compiled, examination.inputs, dict(seed.sizes), shuffle=seed.numbers)
    kernels = "\n".join(str(kernel) for _, kernel in examination.compiled.main.kernels)
    examination.compare("tiles", "lowering", found, F64, kernels)


def check_schedule(examination: Examination) -> None:
    """A schedule that somebody edited is refused, or computes the same."""
    seed = examination.seed
    if seed.schedule is None:
        return
    try:
        compiled = apply(seed.cascade, seed.schedule, seed.target, strict=seed.strict, otherwise=Guess(seed.target, seed.strict))
    except (Illegal, Unsupported):
        examination.features.add("schedule refused")
        return
    examination.features.add("schedule applied")
    found = run_tiles(compiled, examination.inputs, dict(seed.sizes), shuffle=seed.numbers)
    examination.compare("schedule", "apply", found, F64, str(seed.schedule))


def check_native(examination: Examination) -> None:
    """Compiled C gives what the cascade means, bit for bit the same on one thread and on two, and stays inside its memory."""
    if not isinstance(examination.seed.target, Cpu):
        return
    kernels = "\n".join(str(kernel) for _, kernel in examination.compiled.main.kernels)
    program = Native(examination.compiled, read_settings().cache_dir / "fuzz", dict(examination.seed.sizes))
    try:
        one, two = (program.run(examination.inputs, threads) for threads in (1, 2))
    except Outside as error:
        raise Wrong("memory", "C", str(error), kernels) from error
    examination.compare("C", "C", one, F32, kernels)
    for name in one:
        if one[name].tobytes() != two[name].tobytes():
            raise Wrong("threads", "C", f"{name} is not the same on two threads as on one", kernels)


def check_triton(examination: Examination) -> None:
    """Triton kernels, in its interpreter, give what the cascade means, and stay inside their memory."""
    if not isinstance(examination.seed.target, Gpu):
        return
    # Triton needs PyTorch, which nothing else of this needs.
    run_triton = importlib.import_module("tcomp.fuzz.oracles.interpreter").run_triton
    kernels = "\n".join(str(kernel) for _, kernel in examination.compiled.main.kernels)
    try:
        found = run_triton(examination.compiled, examination.inputs, dict(examination.seed.sizes))
    except Outside as error:
        raise Wrong("memory", "Triton", str(error), kernels) from error
    examination.compare("Triton", "Triton", found, F32, kernels)


@dataclass(frozen=True, slots=True)
class Oracle:
    """A row of the list: what is asked, and of which seeds."""

    ask: Callable[[Examination], None]
    name: str
    largest: float = math.inf
    """The most points of an einsum of a cascade that it is asked of: the evaluator of tiles walks them one by one."""
    is_slow: bool = False
    """Whether it takes a hundred times longer than others, as compiling does: campaigns ask it of some seeds only."""


ORACLES: tuple[Oracle, ...] = (
    Oracle(check_text, "text"),
    Oracle(check_passes, "passes"),
    Oracle(check_stages, "stages"),
    Oracle(check_schedule_text, "schedule text"),
    Oracle(check_tiles, "tiles", MOST_POINTS),
    Oracle(check_schedule, "schedule", MOST_POINTS),
    Oracle(check_native, "C", is_slow=True),
    Oracle(check_triton, "Triton", MOST_POINTS, is_slow=True),
)


def describe_invalid(seed: Seed) -> str:
    """Why a seed breaks a rule or cannot be evaluated, so that nothing follows from it; empty if it is valid."""
    try:
        check_cascade(seed.cascade)
        for sizes in _list_sizes(seed):
            evaluate(seed.cascade, make_inputs(seed.cascade, seed.numbers, sizes), sizes, float64=True)
    except TcompError as error:
        return error.what
    # Whatever else comes is no answer that an evaluator may give: the oracles meet it again, and say where it came from.
    except Exception:  # noqa: BLE001
        return ""
    return ""


def _list_sizes(seed: Seed) -> Iterator[dict[str, int]]:
    """The sizes of a seed, and the ends of what its symbols may be: a cascade has to be right for all sizes that it says."""
    yield dict(seed.sizes)
    ends = [(s.low, s.low + UNBOUNDED_STEP if s.high is None else s.high) for s in seed.cascade.symbols]
    for sizes in itertools.product(*map(dict.fromkeys, ends)) if ends else ():
        yield {symbol.name: size for symbol, size in zip(seed.cascade.symbols, sizes)}


def examine(seed: Seed, oracles: tuple[Oracle, ...] = ORACLES) -> tuple[Finding | None, frozenset[str]]:
    """What is wrong with a seed, or None; and the features of what happened."""
    examination = Examination(seed, sees_stages=any(oracle.ask is check_stages for oracle in oracles))
    try:
        points = count_points(seed.cascade, dict(seed.sizes))
        for oracle in oracles:
            if points > oracle.largest:
                continue
            try:
                oracle.ask(examination)
            except Wrong:
                raise
            except Exception as error:
                raise Wrong("exception", f"{oracle.name} {_place(error)}", _tell(error), _trace(error)) from error
    except Wrong as wrong:
        guilty = wrong.guilty if wrong.oracle != "exception" or wrong.__cause__ is None else _place(wrong.__cause__)
        return Finding(wrong.oracle, guilty, wrong.what, wrong.where), frozenset(examination.features)
    return None, frozenset(examination.features)


def _tell(error: BaseException) -> str:
    return f"{type(error).__name__}: {error.what if isinstance(error, TcompError) else error}"


def _place(error: BaseException) -> str:
    """The innermost functions of ours that an exception came through, the fuzzer's left out."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_ours(frame.filename)]
    return " < ".join(f"{frame.filename.rsplit('/', 1)[-1].removesuffix('.py')}.{frame.name}" for frame in frames[: -FRAMES - 1 : -1])


def is_ours(path: str) -> bool:
    """Whether a file belongs to the compiler: neither to the fuzzer nor to a library."""
    parts = Path(path).parts[-4:-1]
    return any(folder in parts for folder in ("ir", "passes", "codegen", "tcomp")) and "fuzz" not in parts and "site-packages" not in parts


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _both(before: Cascade, after: Cascade) -> str:
    return f"before:\n{before}\nafter:\n{after}"
