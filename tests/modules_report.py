"""Whether PyTorch's own modules are right when compiled: `python -m tests.modules_report [--help]`.

Takes every module of `module_db` (torch.testing._internal.common_modules) with all its sample inputs, in training and in evaluation
(once if no class in it reads `training`), in float32, bfloat16 and float64, and runs it forward without gradients, and forward and
backward, through `tcomp.compile` and through `torch.compile(backend="tcomp")`. Results, gradients of inputs and parameters, and buffers
afterwards are compared with eager's: they may differ by a few roundings, or be no farther from the same module in float64 than twice
what eager is (one unit in the last place at least). Where values cancel, both errors are draws from a wide range: what fails by this is
judged by the root mean squares of both on neighbouring inputs and parameters, and listed with them. Of modules in float64, where
nothing is more exact, eager's error is what rounding its operators' results at random makes. Modules that draw random numbers draw
the same ones from the same seed.

An internal error of the compiler is a fault, as are a crash and a hang; operators left to PyTorch are not, and are counted.
When interrupted, what has been found is printed; with `--keep FILE` it is also written as it is found, and the next run goes on from there.
"""

import argparse
import functools
import inspect
import itertools
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch._inductor.pattern_matcher  # torch.compile takes it at the first backward; here the processes share it
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.testing._internal.common_modules import module_db

import tcomp
from tcomp.module.compiled_module import CompiledModule
from tests.apart import run_entries
from tests.module_errors import Results, Sample, call, call_eager, judge, seed_generators

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
WAYS = ("tcomp.compile", "torch.compile")
PIECE = 64
"""Most samples of an entry: the loss with most of them has 1,714, and every one is compiled anew."""
SECONDS = 1800
"""How long the samples of one entry may take."""


@dataclass(frozen=True)
class Outcome:
    """What became of one sample in one way of compiling."""

    name: str
    way: str = ""
    fault: str | None = None
    refused: str | None = None
    """Why eager itself cannot run it, or torch.compile not as eager does."""
    fallbacks: tuple[str, ...] = ()
    """The operators left to PyTorch."""
    is_backward: bool = False
    """Whether gradients were compared too."""
    note: str | None = None
    """Errors that are right because eager's are as large on neighbouring inputs."""


@dataclass(frozen=True)
class Entry:
    """What one process examines: up to PIECE samples of a module in one type, compiled in one way."""

    info: Any
    dtype: torch.dtype
    way: str
    first: int = 0
    """How many samples of the module other entries examine before it."""

    @property
    def name(self) -> str:
        whole = f"{self.info.name}[{str(self.dtype).removeprefix('torch.')}] {self.way}"
        return f"{whole} from {self.first}" if self.first else whole


def find_infos(names: str = "") -> list[Any]:
    """The entries of module_db whose name contains `names`."""
    return [info for info in module_db if names in info.name]


def find_samples(info: Any, dtype: torch.dtype, limit: int) -> Iterator[Sample]:
    """Up to `limit` samples of a module in each mode, the same ones every time; in one mode if it makes no difference."""
    for training in (True, False) if _reads_mode(info, dtype) else (True,):
        seed_generators()
        found = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
        for number, sample in enumerate(found[:limit]):
            if sample.forward_input is None:
                continue
            mode = "train" if training else "eval"
            name = f"{info.name}[{str(dtype).removeprefix('torch.')}, {mode}] {number}"
            make = functools.partial(_make, info.module_cls, sample.constructor_input, sample.forward_input, dtype, training)
            yield Sample(name, make, tuple(sample.forward_input.args), dict(sample.forward_input.kwargs))


def find_entries(names: str, limit: int, dtypes: Sequence[torch.dtype], ways: Sequence[str]) -> list[Entry]:
    """The entries of the modules whose name contains `names`."""
    entries: list[Entry] = []
    for info, dtype in itertools.product(find_infos(names), dtypes):
        count = _count_samples(info, dtype, limit)
        entries.extend(Entry(info, dtype, way, first) for way in ways for first in range(0, max(count, 1), PIECE))
    return entries


def _reads_mode(info: Any, dtype: torch.dtype) -> bool:
    """Whether a class of the module, or of what it holds, reads `training`: in module_db's own word for it the Transformer does not."""
    seed_generators()
    first = next(s for s in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True))
    module = info.module_cls(*first.constructor_input.args, **first.constructor_input.kwargs)
    classes = {cls for part in module.modules() for cls in type(part).__mro__ if issubclass(cls, nn.Module) and cls is not nn.Module}
    return any("self.training" in inspect.getsource(cls) for cls in classes)


def _count_samples(info: Any, dtype: torch.dtype, limit: int) -> int:
    try:
        return sum(1 for _ in find_samples(info, dtype, limit))
    # Some samples cannot be made in some types: the entry will say so.
    except Exception:  # noqa: BLE001
        return 0


def _make(cls: type[nn.Module], constructor: Any, forward: Any, dtype: torch.dtype, training: bool) -> nn.Module:
    seed_generators()
    module = cls(*constructor.args, **constructor.kwargs).to(dtype)
    if any(isinstance(p, nn.parameter.UninitializedTensorMixin) for p in (*module.parameters(), *module.buffers())):
        # Sizes of lazy modules come from their first inputs.
        with torch.no_grad():
            module(*forward.args, **forward.kwargs)
    return module.train(training)


def examine(
    info: Any,
    limit: int = 1000,
    dtypes: Sequence[torch.dtype] = DTYPES,
    ways: Sequence[str] = WAYS,
    piece: slice = slice(None),
) -> list[Outcome]:
    """Compile the samples of a module, or a piece of them, in each way, run them, and compare with eager."""
    outcomes: list[Outcome] = []
    for dtype in dtypes:
        try:
            samples = list(find_samples(info, dtype, limit))[piece]
        # Some samples cannot be made in some types.
        except Exception as error:  # noqa: BLE001
            outcomes.append(Outcome(f"{info.name}[{str(dtype).removeprefix('torch.')}]", refused=_describe(error)))
            continue
        for sample in samples:
            outcomes.extend(examine_sample(sample, ways))
    return outcomes


def examine_sample(sample: Sample, ways: Sequence[str] = WAYS) -> list[Outcome]:
    """Compile one sample in each way, forward alone, then forward and backward."""
    try:
        wanted = call_eager(sample, backward=False)
    # What torch itself cannot run is not ours to judge, but it is shown.
    except Exception as error:  # noqa: BLE001
        return [Outcome(sample.name, refused=_describe(error))]
    try:
        trained = call_eager(sample, backward=True)
    # Integer results, and operators without a derivative.
    except Exception:  # noqa: BLE001
        trained = None
    return [_examine_way(sample, way, wanted, trained) for way in ways]


def _examine_way(sample: Sample, way: str, wanted: Results, trained: Results | None) -> Outcome:
    names: list[str] = []
    notes: list[str] = []
    is_backward = trained is not None
    for want, backward in ((wanted, False), (trained, True)):
        if want is None:
            continue
        try:
            module = sample.make()
            compiled = _compile(way, module)
            got = call(sample, module, compiled, backward=backward)
        # A compiler that fails, or a call that does, is the fault looked for.
        except Exception as error:  # noqa: BLE001
            return Outcome(sample.name, way, f"{'backward' if backward else 'forward'}: {_describe(error)}", is_backward=is_backward)
        if isinstance(compiled, CompiledModule):
            names.extend(fallback.operator for fallback in compiled.fallbacks)
        verdict = judge(sample, got, want, backward, functools.partial(_run_compiled, way=way, backward=backward))
        fault = verdict.fault
        if verdict.note is not None:
            notes.append(verdict.note)
        if fault is not None and way == "torch.compile" and is_of_dynamo(sample, got, want, backward):
            return Outcome(sample.name, way, refused=f"torch.compile itself gives something else than eager: {fault}")
        if fault is not None:
            return Outcome(sample.name, way, f"{'backward' if backward else 'forward'}: {fault}", is_backward=is_backward)
    return Outcome(sample.name, way, fallbacks=tuple(dict.fromkeys(names)), is_backward=is_backward, note="; ".join(notes) or None)


def _run_compiled(sample: Sample, way: str, *, backward: bool) -> Results:
    module = sample.make()
    return call(sample, module, _compile(way, module), backward=backward)


def _compile(way: str, module: nn.Module) -> Callable[..., Any]:
    torch._dynamo.reset()
    if way == "tcomp.compile":
        return tcomp.compile(module, fallback="silent")
    return torch.compile(module, backend="tcomp", options={"fallback": "silent"})


def is_of_dynamo(sample: Sample, got: Results, want: Results, backward: bool) -> bool:
    """Whether `torch.compile(backend="eager")` differs from eager too, and gives the same results as ours: that is not ours."""

    def run(other: Sample) -> Results:
        torch._dynamo.reset()
        module = other.make()
        return call(other, module, torch.compile(module, backend="eager"), backward=backward)

    theirs = run(sample)
    return judge(sample, theirs, want, backward, run).fault is not None and judge(sample, got, theirs, backward, run).fault is None


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _examine_entry(entry: Entry, limit: int) -> list[Outcome]:
    warnings.simplefilter("ignore")
    return examine(entry.info, limit, [entry.dtype], [entry.way], slice(entry.first, entry.first + PIECE))


def run(
    names: str = "",
    limit: int = 1000,
    jobs: int = 1,
    dtypes: Sequence[torch.dtype] = DTYPES,
    ways: Sequence[str] = WAYS,
    *,
    keep: str | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Examine the modules whose name contains `names`, `jobs` entries at a time, each in a process of its own.

    Outcomes are appended to the file `keep`, one line of JSON for each entry; entries that it has already are not examined again.
    """
    found = _read_kept(keep)
    entries = find_entries(names, limit, dtypes, ways)
    missing = [entry for entry in entries if entry.name not in found]
    bar = progress.add_task("", total=len(entries), completed=len(entries) - len(missing)) if progress is not None else None
    try:
        for name, came in run_entries(missing, lambda entry: entry.name, functools.partial(_examine_entry, limit=limit), jobs, SECONDS):
            found[name] = [Outcome(name, fault=came)] if isinstance(came, str) else came
            _keep(keep, name, found[name])
            if progress is not None and bar is not None:
                wrong = sum(outcome.fault is not None for outcomes in found.values() for outcome in outcomes)
                progress.update(bar, advance=1, description=f"{name} ({wrong} wrong)")
    except KeyboardInterrupt:
        print("interrupted; what was found until then:", file=sys.stderr)
    return [outcome for entry in entries for outcome in found.get(entry.name, ())]


def _read_kept(path: str | None) -> dict[str, list[Outcome]]:
    if path is None or not os.path.exists(path):
        return {}
    with open(path) as file:
        kept = [json.loads(line) for line in file]
    return {name: [Outcome(**{**fields, "fallbacks": tuple(fields["fallbacks"])}) for fields in outcomes] for name, outcomes in kept}


def _keep(path: str | None, name: str, outcomes: Sequence[Outcome]) -> None:
    if path is not None:
        with open(path, "a") as file:
            file.write(json.dumps([name, [asdict(outcome) for outcome in outcomes]]) + "\n")


def print_report(outcomes: Sequence[Outcome], verbose: bool = False) -> None:
    """Print counts by way of compiling, and the faults."""
    refused = [o for o in outcomes if o.refused is not None]
    tried = [o for o in outcomes if o.refused is None]
    names = {o.name.split("[")[0] for o in tried}
    print(f"{len(names)} modules; {len(refused)} samples that eager or torch.compile itself cannot run")
    for way in WAYS:
        mine = [o for o in tried if o.way == way]
        right = sum(o.fault is None for o in mine)
        backward = sum(o.is_backward for o in mine)
        if mine:
            print(f"{way:14s} {len(mine)} samples, {backward} of them backward too: {right} right ({right / len(mine):.2%})")
    left = Counter(name for o in tried for name in o.fallbacks)
    if left:
        print("left to PyTorch (samples):", ", ".join(f"{name} ({count})" for name, count in left.most_common()))
    if verbose:
        for o in refused:
            print(f"  PyTorch refuses {o.name} {o.way}: {o.refused}")
    noted = [o for o in tried if o.note is not None]
    if noted:
        print("as far from float64 as eager is on inputs next to them:")
        for o in noted:
            print(f"  {o.name} {o.way}: {o.note}")
    wrong = [o for o in outcomes if o.fault is not None]
    if wrong:
        print("wrong:")
        for o in wrong:
            print(f"  {o.name} {o.way}: {o.fault}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="?", default="", help="only modules whose name contains this")
    parser.add_argument("--limit", type=int, default=1000, help="most samples of each module, type and mode")
    parser.add_argument("--jobs", type=int, default=2, help="entries (samples of a module in a type and a way) examined at a time")
    parser.add_argument("--dtypes", default=",".join(str(d).removeprefix("torch.") for d in DTYPES), help="element types (%(default)s)")
    parser.add_argument("--ways", default=",".join(WAYS), help="ways of compiling (%(default)s)")
    parser.add_argument("--verbose", action="store_true", help="also list what eager cannot run")
    parser.add_argument("--keep", metavar="FILE", help="write outcomes to this file as they come; what it has is not examined again")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    dtypes = [getattr(torch, name) for name in options.dtypes.split(",")]
    with Progress(*columns, transient=True) as progress:
        outcomes = run(options.names, options.limit, options.jobs, dtypes, options.ways.split(","), keep=options.keep, progress=progress)
    print_report(outcomes, options.verbose)
    print(f"took {time.monotonic() - started:.0f} s")
    return 0 if outcomes and all(outcome.fault is None for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
