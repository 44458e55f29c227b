"""Whether the architectures of transformers compile, and what they gain: `python -m tests.architectures_report [--help]`.

Takes every architecture of which transformers has a bare model, from its own list, small and with random weights (tests.architectures),
compiles it by `tcomp.compile` without a cache, and compares a call with eager's: results may differ by a few roundings, or be no
farther from the same model in float64 than twice what eager is. A model of which torch.compile(backend="eager") makes the same as tcomp
and something else than eager (it asks whether it is traced) is not counted. It tells how a model was served (one program,
torch.compile, or the original), what was left to PyTorch, the seconds of the first call, memory beyond inputs, weights and results, and
time against eager: medians of rounds in which both take turns, on one thread. These models are small: what a call costs beside
arithmetic counts. What is right with numerics="strict" alone is marked: values below 1e-38, of weights drawn too small.

A second table has the models that continue texts: tokens made greedily with a static cache, by `generate` of the compiled module, at
batch 1 and 4, are to be eager's.

An internal error of the compiler is a fault, as are a crash and a hang; operators left to PyTorch are not, and are counted.
When interrupted, what has been found is printed; with `--keep FILE` it is also written as it is found, and the next run goes on from there.
"""

import argparse
import copy
import functools
import json
import math
import os
import re
import resource
import statistics
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch._inductor.pattern_matcher  # torch.compile takes it; here the processes share it
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

import tcomp
import tcomp.module.compiler  # here the processes share it
import tcomp.module.dynamo
from tcomp.ir.errors import TcompError
from tcomp.module.compiled_module import CompiledModule
from tcomp.program.program import list_fallbacks
from tcomp.reference import is_right, measure_error
from tests.apart import run_entries
from tests.architectures import NotBuilt, build, describe_error, list_architectures, list_generators, seed
from tests.module_errors import describe_tensor, is_near

SECONDS = 600
"""How long one entry may take."""
LONGEST_FIRST_CALL = 60
TOKENS = 8
BATCHES = (1, 4)
FORWARD, GENERATION = "forward", "generation"
TABLES = (FORWARD, GENERATION)
NOISE = 0.95
"""A model is slower than eager where the median of its ratios and that of the least times are below this, and three quarters of the
ratios below 1."""


@dataclass(frozen=True)
class Outcome:
    """What became of one architecture."""

    name: str
    table: str
    fault: str | None = None
    refused: str | None = None
    """Why it could not be built, or eager cannot run it."""
    how: str = ""
    """How it was made small, and what it was called with."""
    way: str = ""
    """Who serves its calls: lean, Dynamo or the original."""
    reason: str = ""
    """Why no program of the lean way does."""
    left: tuple[str, ...] = ()
    """The operators left to PyTorch."""
    first: float = 0.0
    """Seconds of the first call."""
    cpu: float = 0.0
    """Seconds of processors that it took, those of C compilers included: what other work on the machine hardly changes."""
    extra: int | None = None
    eager_extra: int | None = None
    """Bytes beyond inputs, weights and results; unknown where calls do not go to a program of the lean way."""
    eager: float = 0.0
    ours: float = 0.0
    """Median seconds of a call."""
    ratio: float = 0.0
    upper: float = 0.0
    least: float = 0.0
    """How many times as fast as eager: the median of all rounds, the bound of the lower three quarters, and the least times compared."""
    is_strict: bool = False
    """Whether it is right with `numerics="strict"` alone: values so small that eager, too, differs when such are zero."""

    @property
    def is_long(self) -> bool:
        """Whether the first call takes too long, also on a machine that does nothing else."""
        return min(self.first, self.cpu or self.first) > LONGEST_FIRST_CALL

    @property
    def is_slower(self) -> bool:
        return self.ratio < NOISE and self.upper < 1 and self.least < NOISE

    @property
    def is_whole(self) -> bool:
        """Whether nothing in the forward pass is left to PyTorch."""
        return self.fault is None and not self.left and self.way != "original"


@dataclass(frozen=True)
class Entry:
    """What one process examines."""

    kind: str
    table: str

    @property
    def name(self) -> str:
        return f"{self.kind} {self.table}"


def find_entries(names: str, tables: Sequence[str] = TABLES) -> list[Entry]:
    """The entries whose architecture's name matches the regular expression `names` somewhere."""
    lists = {FORWARD: list_architectures, GENERATION: list_generators}
    return [Entry(kind, table) for table in tables for kind in lists[table]() if re.search(names, kind)]


def spread(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries in an order that has little to do with their names, so that the first ones say something about all."""
    return sorted(entries, key=lambda entry: zlib.crc32(entry.name.encode()))


def examine(entry: Entry) -> Outcome:
    """Build, compile, run and compare one architecture."""
    warnings.simplefilter("ignore")
    try:
        built = build(entry.kind, generates=entry.table == GENERATION)
    except NotBuilt as error:
        return Outcome(entry.kind, entry.table, refused=str(error)[:1000])
    shapes = ", ".join(f"{name}{list(value.shape)}" for name, value in built.inputs.items())
    common = functools.partial(Outcome, entry.kind, entry.table, how=f"{built.how}; {shapes}")
    try:
        if entry.table == GENERATION:
            return common(**examine_generation(built.model))
        return common(**examine_forward(built.model, built.inputs))
    except NotBuilt as error:
        return common(refused=str(error))
    # A compiler that fails, or a call that does, is the fault looked for.
    except Exception as error:  # noqa: BLE001
        return common(fault=describe_error(error))


def examine_forward(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an outcome: a call compiled against one in eager."""
    want = call(model, model, inputs)
    compiled = tcomp.compile(model, fallback="silent", cache=False)
    started, before = time.perf_counter(), read_cpu()
    got = call(model, compiled, inputs)
    first, cpu = time.perf_counter() - started, read_cpu() - before
    fault = find_difference(got, want, lambda: call_wide(model, inputs)) or find_difference(
        call(model, compiled, inputs), want, lambda: call_wide(model, inputs)
    )
    if fault is not None and is_of_dynamo(model, inputs, got):
        raise NotBuilt(f"torch.compile itself gives something else than eager: {fault}")
    is_strict = fault is not None and is_of_denormals(model, inputs, want)
    fault = None if is_strict else fault
    found = {"fault": fault, "is_strict": is_strict, "first": first, "cpu": cpu, **describe_way(compiled)}
    return {**found, **measure_memory(compiled), **measure_times(model, compiled, inputs)}


def is_of_denormals(model: nn.Module, inputs: Mapping[str, Any], want: Sequence[Tensor]) -> bool:
    """Whether a difference is that denormal numbers are zero: eager differs alike without them, and we do not with them."""

    def differs(got: Sequence[Tensor]) -> bool:
        return find_difference(got, want, lambda: call_wide(model, inputs)) is not None

    try:
        if not torch.set_flush_denormal(True):
            return False
        flushed = call(model, model, inputs)
    finally:
        torch.set_flush_denormal(False)
    # The comparison itself has to see denormal numbers.
    return differs(flushed) and not differs(call(model, tcomp.compile(model, fallback="silent", cache=False, numerics="strict"), inputs))


def is_of_dynamo(model: nn.Module, inputs: Mapping[str, Any], got: Sequence[Tensor]) -> bool:
    """Whether `torch.compile(backend="eager")` gives what we do: some models compute something else where they see that they are traced."""

    def run(other: nn.Module, given: Mapping[str, Any]) -> list[Tensor]:
        torch._dynamo.reset()
        return call(other, torch.compile(other, backend="eager"), given)

    return find_difference(got, run(model, inputs), lambda: call_wide(model, inputs, run)) is None


def describe_way(compiled: CompiledModule) -> dict[str, Any]:
    """Who serves calls, why, and what is left to PyTorch."""
    programs = (*compiled.programs, *compiled.graphs)
    left = Counter(f.operator for program in programs for f in list_fallbacks(program))
    way = "lean" if not compiled.detours else "Dynamo" if compiled.graphs else "original"
    return {"way": way, "reason": "; ".join(compiled.detours), "left": tuple(left)}


def read_cpu() -> float:
    """Seconds of processors that this process has taken, and its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def call(model: nn.Module, run: Callable[..., Any], inputs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that a call returns, on inputs of its own and from the same seed."""
    given = copy.deepcopy(dict(inputs))
    seed()
    with torch.no_grad():
        return [tensor.detach().clone() for tensor in find_tensors(run(**given))]


def call_wide(model: nn.Module, inputs: Mapping[str, Any], run: Callable[..., list[Tensor]] | None = None) -> list[Tensor]:
    """The same with all arithmetic in float64, in eager or as `run` calls a model."""
    wide = copy.deepcopy(model).double()
    given = {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}
    return call(wide, wide, given) if run is None else run(wide, given)


def find_tensors(value: Any) -> Iterator[Tensor]:
    """The tensors within a result: in containers, and in objects of transformers, such as caches."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from find_tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from find_tensors(part)
    elif type(value).__module__.startswith("transformers.") and not isinstance(value, nn.Module):
        yield from find_tensors(vars(value))


def find_difference(got: Sequence[Tensor], want: Sequence[Tensor], call_reference: Callable[[], Sequence[Tensor]]) -> str | None:
    """Say how results differ from eager's, or None."""
    if [(t.dtype, t.shape) for t in got] != [(t.dtype, t.shape) for t in want]:
        return f"results are {[describe_tensor(t) for t in got]} instead of {[describe_tensor(t) for t in want]}"
    if all(map(is_near, got, want)):
        return None
    try:
        reference = call_reference()
    # Some models choose float32 themselves.
    except Exception as error:  # noqa: BLE001
        return f"results differ, and the model does not run in float64: {describe_error(error)}"
    wrong = []
    for number, (ours, theirs, exact) in enumerate(zip(got, want, reference, strict=True)):
        error, eager_error = measure_error([ours], [exact]), measure_error([theirs], [exact])
        if not is_near(ours, theirs) and not (math.isfinite(error) and is_right(error, eager_error, [theirs])):
            wrong.append(f"result {number} errs by {error:.2g}, eager by {eager_error:.2g}")
    return "; ".join(wrong) or None


def measure_memory(compiled: CompiledModule) -> dict[str, int | None]:
    if not compiled.programs or compiled.detours:
        return {"extra": None, "eager_extra": None}
    try:
        return {"extra": compiled.memory.extra, "eager_extra": compiled.estimate_eager_memory()}
    except TcompError:
        return {"extra": compiled.memory.extra, "eager_extra": None}


def measure_times(model: nn.Module, compiled: CompiledModule, inputs: Mapping[str, Any], budget: float = 1.0) -> dict[str, float]:
    """Rounds in which eager and the compiled model take turns, within seconds of a budget; five at least."""
    taken: dict[str, list[float]] = {"eager": [], "ours": []}
    ends = time.perf_counter() + budget
    with torch.no_grad():
        while len(taken["ours"]) < 5 or (time.perf_counter() < ends and len(taken["ours"]) < 100):
            for name, run in (("eager", model), ("ours", compiled)):
                started = time.perf_counter()
                run(**inputs)
                taken[name].append(time.perf_counter() - started)
    ratios = sorted(theirs / ours for theirs, ours in zip(taken["eager"], taken["ours"], strict=True))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    least = min(taken["eager"]) / min(taken["ours"])
    return {**medians, "ratio": statistics.median(ratios), "upper": ratios[3 * (len(ratios) - 1) // 4], "least": least}


def examine_generation(model: nn.Module) -> dict[str, Any]:
    """The fields of an outcome: tokens with a static cache, compiled against eager, at each batch."""
    count = min(model.config.get_text_config().vocab_size, 100)
    prompts = [torch.randint(3, count, (batch, 8), generator=torch.Generator().manual_seed(batch)) for batch in BATCHES]
    try:
        want = [generate(model, prompt) for prompt in prompts]
    # Not every model knows a static cache.
    except Exception as error:
        raise NotBuilt(f"eager does not generate with a static cache: {describe_error(error)}") from error
    compiled = tcomp.compile(copy.deepcopy(model), fallback="silent", cache=False)
    started, before = time.perf_counter(), read_cpu()
    got = [generate(compiled, prompt) for prompt in prompts]
    first, cpu = time.perf_counter() - started, read_cpu() - before
    wrong = [batch for batch, ours, theirs in zip(BATCHES, got, want, strict=True) if not torch.equal(ours, theirs)]
    started = time.perf_counter()
    generate(model, prompts[0])
    between = time.perf_counter()
    generate(compiled, prompts[0])
    eager, ours = between - started, time.perf_counter() - between
    fault = f"other tokens at batch {' and '.join(map(str, wrong))}" if wrong else None
    times = {"first": first, "cpu": cpu, "eager": eager, "ours": ours, "ratio": eager / ours, "upper": eager / ours, "least": eager / ours}
    return {"fault": fault, **describe_way(compiled), **times}


def generate(model: Any, prompt: Tensor) -> Tensor:
    """Tokens that continue a prompt, greedily."""
    tokens: Tensor = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=TOKENS,
        min_new_tokens=TOKENS,
        do_sample=False,
        cache_implementation="static",
        pad_token_id=0,
        disable_compile=True,
    )
    return tokens


def run(
    names: str = "",
    jobs: int = 1,
    tables: Sequence[str] = TABLES,
    *,
    keep: str | None = None,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Examine the architectures whose name matches `names`, `jobs` at a time, each in a process of its own.

    Outcomes are appended to the file `keep`, one line of JSON each; entries that it has already are not examined again.
    """
    found = _read_kept(keep)
    entries = find_entries(names, tables)
    missing = spread([entry for entry in entries if entry not in found])
    bar = progress.add_task("", total=len(entries), completed=len(entries) - len(missing)) if progress is not None else None
    known = {entry.name: entry for entry in entries}
    try:
        for name, came in run_entries(missing, lambda entry: entry.name, examine, jobs, seconds):
            entry = known[name]
            found[entry] = Outcome(entry.kind, entry.table, fault=came) if isinstance(came, str) else came
            _keep(keep, found[entry])
            if progress is not None and bar is not None:
                wrong = sum(outcome.fault is not None for outcome in found.values())
                progress.update(bar, advance=1, description=f"{name} ({wrong} wrong)")
    except KeyboardInterrupt:
        print("interrupted; what was found until then:", file=sys.stderr)
    return [found[entry] for entry in entries if entry in found]


def _read_kept(path: str | None) -> dict[Entry, Outcome]:
    if path is None or not os.path.exists(path):
        return {}
    with open(path) as file:
        kept = [json.loads(line) for line in file]
    outcomes = [Outcome(**{**fields, "left": tuple(fields["left"])}) for fields in kept]
    return {Entry(outcome.name, outcome.table): outcome for outcome in outcomes}


def _keep(path: str | None, outcome: Outcome) -> None:
    if path is not None:
        with open(path, "a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


def print_report(outcomes: Sequence[Outcome], verbose: bool = False) -> None:
    """Print counts, what is behind them, and a line for each architecture."""
    for table in TABLES:
        mine = [outcome for outcome in outcomes if outcome.table == table]
        if mine:
            _print_table(table, mine, verbose)


def _print_table(table: str, outcomes: Sequence[Outcome], verbose: bool) -> None:
    tried = [o for o in outcomes if o.refused is None]
    right = [o for o in tried if o.fault is None]
    print(f"{table}: {len(tried)} architectures run in eager, of {len(outcomes)}")
    print(f"  right                                      {_share(len(right), len(tried))}")
    if table == FORWARD:
        print(f'  right with numerics="strict" alone         {_share(sum(o.is_strict for o in right), len(tried))}')
        print(f"  nothing in the forward pass left to PyTorch {_share(sum(o.is_whole for o in tried), len(tried))}")
        for way in ("lean", "Dynamo", "original"):
            print(f"  {way:43s} {_share(sum(o.way == way for o in tried), len(tried))}")
    if right:
        slow = [o for o in right if o.is_slower]
        long = [o for o in right if o.is_long]
        print(f"  slower than eager                          {_share(len(slow), len(right))}")
        print(f"  first call above {LONGEST_FIRST_CALL} s                      {_share(len(long), len(right))}")
        print(f"  times as fast as eager, median             {statistics.median(o.ratio for o in right):.2f}")
    _print_reasons("left to PyTorch", Counter(name for o in tried for name in o.left))
    reasons = [re.sub(r" at .*", "", o.reason.split(", so the call")[0]) for o in tried if o.reason]
    _print_reasons("not served by one program", Counter(reasons))
    if right:
        memory = f"{'extra':>10s} {'eager extra':>11s}"
        print(f"  {'architecture':32s} {'way':9s} {'first s':>8s} {'cpu s':>6s} {memory} {'eager ms':>9s} {'ms':>9s} {'ratio':>6s}")
    for o in right:
        extra, eager_extra = ("" if size is None else f"{size / 1024:.0f} KiB" for size in (o.extra, o.eager_extra))
        marks = "".join(mark for mark, holds in ((" slower", o.is_slower), (" strict", o.is_strict)) if holds)
        times = f"{o.eager * 1e3:9.2f} {o.ours * 1e3:9.2f} {o.ratio:6.2f}{marks}"
        print(f"  {o.name:32s} {o.way:9s} {o.first:8.1f} {o.cpu:6.1f} {extra:>10s} {eager_extra:>11s} {times} {', '.join(o.left)}".rstrip())
    for o in tried:
        if o.fault is not None:
            print(f"  wrong: {o.name} ({o.how}): {o.fault}")
    if verbose:
        for o in outcomes:
            if o.refused is not None:
                print(f"  not built: {o.name}: {o.refused}")


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if total else "0"


def _print_reasons(title: str, counts: Counter[str]) -> None:
    if counts:
        print(f"  {title} (architectures):")
        for name, count in counts.most_common():
            print(f"    {count:4d} {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="?", default="", help="only architectures whose name this regular expression matches somewhere")
    parser.add_argument("--jobs", type=int, default=2, help="architectures examined at a time (%(default)s)")
    parser.add_argument("--tables", default=",".join(TABLES), help="what is examined (%(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long one architecture may take (%(default)s)")
    parser.add_argument("--verbose", action="store_true", help="also list what could not be built")
    parser.add_argument("--keep", metavar="FILE", help="write outcomes to this file as they come; what it has is not examined again")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    tables = options.tables.split(",")
    with Progress(*columns, transient=True) as progress:
        outcomes = run(options.names, options.jobs, tables, keep=options.keep, seconds=options.seconds, progress=progress)
    print_report(outcomes, options.verbose)
    print(f"took {time.monotonic() - started:.0f} s")
    return 0 if outcomes and all(outcome.fault is None for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
