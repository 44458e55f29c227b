"""How much of PyTorch's operator database compiles, and whether it is right: `python -m tests.op_db_report [--help]`.

Takes the samples of `op_db` in float32, int64 and bool, or in the types asked for, or their gradients, traces each into a graph of
ATen operators after core ATen decompositions, compiles the graphs with real kernels and runs them. A graph with operators that have
no lowering is split around those, which run in eager, and is checked as well. Results are compared with eager's within the tolerance
of `lowering_support`, those in bfloat16 and float16 within one rounding; where they differ by more they may be no farther from float64
arithmetic than twice what eager is, or one unit in the last place. Samples right by that second measure are listed with both errors.

Samples count as core if their graph consists of core ATen operators; those that draw random numbers are left out. A sample that
crashes or hangs is a wrong one and does not end the run. When interrupted, what has been found is printed.
"""

import argparse
import functools
import json
import math
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tcomp.ir.errors import TcompError
from tcomp.reference import is_right, measure_error, run_reference
from tcomp.stages.lower_graph import find_unsupported
from tests.apart import run_apart, run_entries
from tests.lowering_support import capture, execute, find_mismatch, to_numpy
from tests.op_db_batch import Batch, Compiled, Manner, open_batch
from tests.op_db_samples import (
    DTYPES,
    GRADIENTS,
    NARROW,
    Sample,
    Untraced,
    find_entries,
    find_foreign,
    find_samples,
    is_random,
    name_entry,
)

OPEN_TIES = frozenset({torch.ops.aten.topk.default, torch.ops.aten.kthvalue.default})
REDUCTION_TERMS = 64
"""Roundings allowed relative to the largest magnitude of a result; samples are small."""
NARROW_ULPS = 1
"""Roundings allowed to each element of a narrow float: a tolerance that grows with the terms would let anything pass."""
MANNER = Manner(("-O1",))
"""Optimising kernels that run once takes longer than it gains."""
DECOMPOSED = "PyTorch's decomposition gives other values than the operator"
"""What counts against neither: eager gives them, or less exact ones, for the traced graph as well."""
SECONDS = 900
"""How long the samples of one entry may take."""
SAMPLE_SECONDS = 60
"""How long one sample may run."""


@dataclass(frozen=True)
class Outcome:
    """What became of one sample."""

    name: str
    foreign: tuple[str, ...] = ()
    """What of its graph is not core ATen."""
    missing: tuple[str, ...] = ()
    """The operators that ran in eager, with the reason."""
    fault: str | None = None
    is_random: bool = False
    untraced: str | None = None
    errors: tuple[float, float] | None = None
    """The error against float64 arithmetic, and eager's, of a sample that is right although it differs from eager."""


@dataclass(frozen=True)
class Exactness:
    """How far from float64 arithmetic results are that differ from eager's, and how far eager's are."""

    error: float
    eager_error: float


@dataclass
class Tally:
    """Counts of samples."""

    samples: int = 0
    lowered: int = 0
    wrong: int = 0
    fallback: int = 0
    fallback_wrong: int = 0

    def count(self, outcome: Outcome) -> None:
        self.samples += 1
        if outcome.missing:
            self.fallback += 1
            self.fallback_wrong += outcome.fault is not None
        else:
            self.lowered += 1
            self.wrong += outcome.fault is not None

    def share(self) -> float:
        """The share that compiles without fallback and is right."""
        return (self.lowered - self.wrong) / self.samples if self.samples else 0.0


@dataclass
class Report:
    """The outcomes of all samples, counted."""

    outcomes: list[Outcome] = field(default_factory=list)
    core: Tally = field(default_factory=Tally)
    beyond: Tally = field(default_factory=Tally)
    random: int = 0
    untraced: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    """Of core samples."""
    missing_beyond: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if outcome.untraced is not None:
            self.untraced[outcome.untraced] += 1
        elif outcome.is_random:
            self.random += 1
        else:
            (self.beyond if outcome.foreign else self.core).count(outcome)
            for text in outcome.missing:
                (self.missing_beyond if outcome.foreign else self.missing)[text] += 1
                self.examples.setdefault(text, outcome.name)

    @property
    def wrong(self) -> list[str]:
        """Samples with a fault, as `operator[dtype] number: reason`."""
        return [f"{outcome.name}: {outcome.fault}" for outcome in self.outcomes if outcome.fault is not None]

    @property
    def apart(self) -> list[str]:
        """Right samples that differ from eager, with the errors of both against float64."""
        found = [(outcome.name, outcome.errors) for outcome in self.outcomes if outcome.fault is None and outcome.errors is not None]
        return [f"{name}: error {errors[0]:.2g}, eager's {errors[1]:.2g}" for name, errors in found]

    def is_good(self) -> bool:
        """Whether 97 % of the core samples compile without fallback, and all samples are right."""
        return self.core.lowered >= 0.97 * self.core.samples and not self.wrong


def examine(samples: Sequence[Sample | Untraced], manner: Manner = MANNER) -> list[Outcome]:
    """Compile samples in one batch, run them in a process apart, and compare with eager."""
    outcomes = {sample.name: _classify(sample) for sample in samples}
    wanted = [s for s in samples if isinstance(s, Sample) and outcomes[s.name].fault is None and not outcomes[s.name].is_random]
    try:
        faults = _find_faults(wanted, manner)
    except TcompError:
        # Something in the batch upsets the C compiler: one by one shows what.
        faults = {}
        for sample in wanted:
            try:
                faults.update(_find_faults([sample], manner))
            except TcompError as error:
                faults[sample.name] = _describe(error)
    return [_with_fault(outcome, faults.get(name)) for name, outcome in outcomes.items()]


def _classify(sample: Sample | Untraced) -> Outcome:
    """What can be told of a sample without running it."""
    if isinstance(sample, Untraced):
        return Outcome(sample.name, untraced=sample.error)
    if is_random(sample.graph):
        return Outcome(sample.name, is_random=True)
    foreign = tuple(find_foreign(sample.graph))
    try:
        refused = find_unsupported(sample.graph)
    # A lowering that fails instead of refusing is a bug to list, not the end of the report.
    except Exception as error:  # noqa: BLE001
        return Outcome(sample.name, foreign, fault=f"lowering failed with {_describe(error)}")
    missing = dict.fromkeys(f"{node.target}: {reason.what}" for node, reason in refused.items())
    return Outcome(sample.name, foreign, tuple(missing))


def _with_fault(outcome: Outcome, fault: str | Exactness | None) -> Outcome:
    if fault == DECOMPOSED:
        return Outcome(outcome.name, untraced=DECOMPOSED)
    if isinstance(fault, Exactness):
        return replace(outcome, errors=(fault.error, fault.eager_error))
    return outcome if fault is None else replace(outcome, fault=fault)


def _find_faults(samples: Sequence[Sample], manner: Manner) -> dict[str, str | Exactness]:
    """Compile and run samples; say of each that is not right what is wrong, and of each that differs from eager by how much."""
    faults: dict[str, str | Exactness] = {}
    with open_batch(manner) as batch:
        compiled = {sample.name: _compile(batch, sample, faults) for sample in samples}
        batch.build()
        ready = [(sample, c) for sample in samples if (c := compiled[sample.name]) is not None]
        answers = run_apart([functools.partial(_compare, sample, c) for sample, c in ready], SAMPLE_SECONDS)
    for (sample, _), answer in zip(ready, answers, strict=True):
        if answer is not None:
            faults[sample.name] = answer
    return faults


def _compile(batch: Batch, sample: Sample, faults: dict[str, str | Exactness]) -> Compiled | None:
    try:
        return batch.compile(sample.graph)
    # Whatever goes wrong in the compiler is the sample's fault to list.
    except Exception as error:  # noqa: BLE001
        faults[sample.name] = f"compilation failed with {_describe(error)}"
        return None


def _compare(sample: Sample, compiled: Compiled) -> str | Exactness | None:
    """Say how a compiled sample's results differ from eager's, if they are wrong, or by how much, if they are right; None if not at all."""
    try:
        got = compiled.run(sample.copy_tensors())
        fault = find_difference(sample, got)
        if fault is None:
            return None
        judged, is_decomposed = _choose_judge(sample)
        if is_decomposed and find_difference(judged, got) is None:
            return DECOMPOSED
        exactness = measure_exactness(judged, got)
        # Where the places of infinities or integers differ from those of float64, nothing is measured.
        if math.isfinite(exactness.error) and is_right(exactness.error, exactness.eager_error, judged.wanted):
            return DECOMPOSED if is_decomposed else exactness
        if compiled.has_fallback():
            return fault
        evaluated = find_difference(sample, [torch.from_numpy(a) for a in execute(sample.graph, sample.copy_tensors())])
    # A run that fails is listed like a wrong result.
    except Exception as error:  # noqa: BLE001
        return f"running failed with {_describe(error)}"
    return fault + (" (the cascade evaluates right)" if evaluated is None else " (the cascade evaluates wrong)")


def _choose_judge(sample: Sample) -> tuple[Sample, bool]:
    """The sample with what it is judged by: where the traced graph gives other values in eager than the operator does (True), those."""
    traced = tuple(sample.graph(*sample.copy_tensors()))
    if find_difference(sample, traced) is None:
        return sample, False
    return replace(sample, wanted=traced), True


def find_difference(sample: Sample, got: Sequence[Any]) -> str | None:
    """Say how results differ from eager's, or None."""
    wanted = sample.wanted
    if len(got) != len(wanted):
        return f"{len(got)} results, not {len(wanted)}"
    if _names_equals(sample, got):
        # The elements these indices name are eager's: which of equal ones is left open.
        got, wanted = got[:1], wanted[:1]
    for ours, theirs in zip(got, wanted):
        limits = {"ulps": NARROW_ULPS} if theirs.dtype in NARROW else {"terms": REDUCTION_TERMS}
        mismatch = find_mismatch(to_numpy(_plain(ours)), _plain(theirs), **limits)
        if mismatch is not None:
            return " ".join(mismatch.text.split())[:200]
    return None


def _names_equals(sample: Sample, got: Sequence[Any]) -> bool:
    """Whether a sample is one whose ties are open, and the indices found name each of its values, no element twice."""
    calls = [node for node in sample.graph.graph.nodes if node.op == "call_function" and node.target in OPEN_TIES]
    if not calls or len(got) != 2:
        return False
    operand, (values, indices) = sample.tensors[0], got
    dim = calls[0].args[2] if len(calls[0].args) > 2 else -1
    if indices.ndim < operand.ndim:
        values, indices = values.unsqueeze(dim), indices.unsqueeze(dim)
    operand, values, indices = torch.atleast_1d(operand, values, indices)
    is_distinct = bool((indices.sort(dim).values.diff(dim=dim) > 0).all())
    return is_distinct and torch.equal(operand.gather(dim, indices), values.to(operand.dtype))


def measure_exactness(sample: Sample, got: Sequence[torch.Tensor]) -> Exactness:
    """How far results, and eager's own, are from those of float64 arithmetic."""
    reference = run_reference(sample.graph, sample.copy_tensors())
    return Exactness(measure_error(got, reference), measure_error(sample.wanted, reference))


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that numpy can hold."""
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    if tensor._is_zerotensor():
        # Of derivatives that are zero everywhere, such as those of sgn, PyTorch keeps no elements.
        tensor = tensor.clone()
    return tensor.to(torch.complex64) if tensor.dtype == torch.complex32 else tensor


def _describe(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno} {place.name}: {text}"


def run(
    names: str = "",
    limit: int = 10,
    jobs: int = 1,
    manner: Manner = MANNER,
    *,
    dtypes: Sequence[torch.dtype] = DTYPES,
    gradients: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Examine up to `limit` samples in each dtype of each entry of op_db whose name contains `names`, `jobs` entries at a time."""
    report = Report()
    entries = find_entries(names)
    # What the processes share: set up once, before they part.
    capture(lambda x: (x.softmax(-1),), torch.zeros(2))
    bar = progress.add_task("", total=len(entries)) if progress is not None else None
    try:
        work = functools.partial(_examine_entry, limit=limit, manner=manner, dtypes=dtypes, gradients=gradients)
        for name, found in run_entries(entries, name_entry, work, jobs, SECONDS):
            for outcome in [Outcome(name, fault=found)] if isinstance(found, str) else found:
                report.add(outcome)
            if progress is not None and bar is not None:
                progress.update(bar, advance=1, description=f"{name} ({len(report.wrong)} wrong)")
    except KeyboardInterrupt:
        print("interrupted; what was found until then:", file=sys.stderr)
    return report


def _examine_entry(entry: Any, limit: int, manner: Manner, dtypes: Sequence[torch.dtype], gradients: bool) -> list[Outcome]:
    warnings.simplefilter("ignore")
    return examine(list(find_samples(entry, limit, dtypes, gradients)), manner)


def print_report(report: Report, verbose: bool = False) -> None:
    """Print counts, operators that ran in eager, and faults."""
    core, beyond = report.core, report.beyond
    total = len(report.outcomes)
    print(f"samples {total}: {core.samples} of core ATen operators, {beyond.samples} with others, {report.random} drawing random numbers")
    print(f"  or leaving memory uninitialised, {report.untraced.total()} that torch cannot run or trace")
    print(f"{'':34s}{'core ATen':>18s}{'with others':>18s}")
    rows = (
        ("samples", "samples"), ("compiled without fallback", "lowered"), ("  of these wrong", "wrong"),
        ("split around eager operators", "fallback"), ("  of these wrong", "fallback_wrong"),
    )  # fmt: skip
    for title, name in rows:
        cells = [f"{getattr(tally, name)}" + (f" ({tally.lowered / tally.samples:.1%})" if name == "lowered" and tally.samples else "")
                 for tally in (core, beyond)]
        print(f"{title:34s}{cells[0]:>18s}{cells[1]:>18s}")
    print(f"compiled without fallback and right, of the samples of core ATen operators: {core.share():.2%}")
    for title, counter in (
        ("left to eager in core samples", report.missing),
        ("left to eager in other samples", report.missing_beyond if verbose else Counter()),
        ("not traced", report.untraced if verbose else Counter()),
    ):
        if counter:
            print(f"{title}:")
            for text, count in counter.most_common():
                print(f"  {count:5d}  {text}  {report.examples.get(text, '')}")
    if report.apart:
        print(f"right although they differ from eager, by their errors against float64 ({len(report.apart)}):")
        for text in report.apart:
            print(f"  {text}")
    if report.wrong:
        print("wrong:")
        for text in report.wrong:
            print(f"  {text}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="?", default="", help="only entries whose name contains this")
    parser.add_argument("--limit", type=int, default=1000, help="most samples of each entry and dtype")
    parser.add_argument("--jobs", type=int, default=2, help="entries examined at a time")
    parser.add_argument("--flags", default=" ".join(MANNER.flags), help="added to the C compiler's flags (%(default)s)")
    parser.add_argument("--dtypes", help="element types, as in float32,bfloat16 (default: float32,int64,bool)")
    parser.add_argument("--gradients", action="store_true", help="take the gradients of the samples (default type: float32)")
    parser.add_argument("--interpret", action="store_true", help="run Triton kernels in their interpreter instead of compiled C")
    parser.add_argument("--verbose", action="store_true", help="also show what is not core ATen or cannot be traced")
    parser.add_argument("--json", help="write the outcome of every sample to this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("kernels are interpreted as Triton" if options.interpret else f"kernels are compiled with {options.flags}")
    started = time.monotonic()
    default = GRADIENTS if options.gradients else DTYPES
    dtypes = [getattr(torch, name) for name in options.dtypes.split(",")] if options.dtypes else default
    manner = Manner(tuple(options.flags.split()), options.interpret)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, transient=True) as progress:
        report = run(
            options.names, options.limit, options.jobs, manner, dtypes=dtypes, gradients=options.gradients, progress=progress
        )
    print_report(report, options.verbose)
    print(f"took {time.monotonic() - started:.0f} s")
    if options.json:
        with open(options.json, "w") as file:
            json.dump([asdict(outcome) for outcome in report.outcomes], file, indent=1)
    return 0 if report.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
