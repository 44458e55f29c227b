"""How much of PyTorch's operator database lowers, and whether it is right: `python -m tests.op_db_report [--help]`.

Takes the samples of `op_db` in float32, int64 and bool whose graph, after core ATen decompositions, consists of core ATen operators
on dtypes tcomp serves, without random numbers. Prints what share lowers without fallback, the operators that are missing by
number of samples they spoil, and the samples whose values differ from eager's by more than the tolerance of `lowering_support`.
Samples with operators beyond core ATen are lowered and checked where the table has them too, and counted apart.
"""

import argparse
import json
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy
import torch
from torch.fx import GraphModule
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from tcomp.ir.errors import TcompError, Unsupported
from tcomp.lower_graph import find_unsupported
from tests.lowering_support import capture, execute, find_mismatch

DTYPES = (torch.float32, torch.int64, torch.bool)
QUERIES = frozenset({torch.ops.aten.sym_size.int, torch.ops.aten.sym_numel.default})
OPEN_TIES = frozenset({torch.ops.aten.topk.default, torch.ops.aten.kthvalue.default})
REDUCTION_TERMS = 64
"""Roundings allowed relative to the largest magnitude of a result; samples are small."""

Execute = Callable[[GraphModule, list[torch.Tensor]], list[numpy.ndarray]]


@dataclass
class Report:
    """What was counted. `wrong` and `refused` name samples as `operator[dtype] number: reason`."""

    captured: int = 0
    uncaptured: Counter[str] = field(default_factory=Counter)
    not_core: Counter[str] = field(default_factory=Counter)
    random: int = 0
    core: int = 0
    lowered: int = 0
    checked: int = 0
    beyond: int = 0
    beyond_lowered: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    missing_from: dict[str, list[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def share(self) -> float:
        """Of the core samples, the share that lowers without fallback."""
        return self.lowered / self.core if self.core else 0.0


def find_samples(entry, dtype: torch.dtype, limit: int) -> Iterator[tuple[Callable, list[torch.Tensor]]]:
    """Yield samples of an entry as a function of a flat list of tensors, and those tensors."""
    for number, sample in enumerate(entry.sample_inputs("cpu", dtype, requires_grad=False)):
        if number >= limit:
            return
        leaves, spec = tree_flatten((sample.input, sample.args, sample.kwargs))
        places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

        def function(*tensors, leaves=leaves, spec=spec, places=places):
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            first, args, kwargs = tree_unflatten(filled, spec)
            return entry.op(first, *args, **kwargs)

        yield function, [leaves[n] for n in places]


def find_foreign(graph: GraphModule) -> list[str]:
    """The operators of a graph that are not core ATen."""
    foreign = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            if torch.Tag.core not in node.target.tags and node.target not in QUERIES:
                foreign.setdefault(str(node.target))
        elif node.op == "call_function" and node.target.__module__ not in ("_operator", "operator", "math"):
            foreign.setdefault(str(node.target))
    return list(foreign)


def is_random(graph: GraphModule) -> bool:
    """Whether a graph draws random numbers, which tcomp leaves to eager, or leaves memory uninitialised."""
    return any(
        torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) or "empty" in str(node.target)
        for node in graph.graph.nodes
        if node.op == "call_function"
    )


def has_served_dtypes(graph: GraphModule) -> bool:
    """Whether no complex numbers are involved, which core ATen has and tcomp does not."""
    values = (leaf for node in graph.graph.nodes for leaf in tree_leaves(node.meta.get("val")))
    return not any(isinstance(v, torch.Tensor) and v.dtype.is_complex for v in values)


def examine(report: Report, name: str, function: Callable, tensors: list[torch.Tensor], execute: Execute) -> None:
    """Capture, lower and check one sample."""
    try:
        want = function(*[t.clone() for t in tensors])
        graph = capture(function, *tensors)
    # Whatever torch itself cannot run or trace is not ours to count, but it is shown.
    except Exception as error:  # noqa: BLE001
        report.uncaptured[type(error).__name__] += 1
        return
    report.captured += 1
    if is_random(graph):
        report.random += 1
        return
    foreign = find_foreign(graph) if has_served_dtypes(graph) else ["complex numbers"]
    if foreign:
        report.beyond += 1
        report.not_core.update(foreign)
    else:
        report.core += 1
    try:
        refused = find_unsupported(graph)
    # A lowering that fails instead of refusing is a bug to list, not the end of the report.
    except Exception as error:  # noqa: BLE001
        place = traceback.extract_tb(error.__traceback__)[-1]
        report.wrong.append(f"{name}: lowering failed with {error!r} at {place.name}")
        return
    if refused and foreign:
        return
    if refused:
        for node, reason in refused.items():
            text = f"{node.target}: {reason.what}"
            report.missing[text] += 1
            report.missing_from.setdefault(text, []).append(name)
        return
    reason = find_fault(graph, tensors, want, execute)
    if foreign:
        report.beyond_lowered += 1
    else:
        report.lowered += 1
        report.checked += reason is None
    if reason is not None:
        report.wrong.append(f"{name}: {reason}")


def find_fault(graph: GraphModule, tensors: list[torch.Tensor], want, execute: Execute) -> str | None:
    """Say how the executed graph differs from eager's result, or None."""
    wanted = [t for t in tree_leaves(want) if isinstance(t, torch.Tensor)]
    try:
        got = execute(graph, tensors)
    except (TcompError, Unsupported, AssertionError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if len(got) != len(wanted):
        return f"{len(got)} results, not {len(wanted)}"
    if any(node.target in OPEN_TIES for node in graph.graph.nodes) and not tensors[0].is_floating_point():
        # Which of equal elements these name is left open; float samples have no equals and are compared whole.
        got, wanted = got[:1], wanted[:1]
    for g, w in zip(got, wanted):
        mismatch = find_mismatch(g, w, REDUCTION_TERMS)
        if mismatch is not None:
            return mismatch.text.replace("\n", " ")[:200]
    return None


def run(names: str = "", limit: int = 10, execute: Execute = execute, progress=None) -> Report:
    """Examine up to `limit` samples of each entry of op_db whose name contains `names`, in each dtype."""
    report = Report()
    for entry in op_db:
        full = entry.name + (f".{entry.variant_test_name}" if entry.variant_test_name else "")
        if names and names not in full:
            continue
        for dtype in DTYPES:
            if not entry.supports_dtype(dtype, "cpu"):
                continue
            torch.manual_seed(0)
            numpy.random.seed(0)
            random.seed(0)
            label = f"{full}[{str(dtype).removeprefix('torch.')}]"
            started = time.perf_counter()
            try:
                samples = list(find_samples(entry, dtype, limit))
            except Exception as error:  # noqa: BLE001 (some entries need devices or libraries that are not here)
                report.uncaptured[type(error).__name__] += 1
                continue
            for number, (function, tensors) in enumerate(samples):
                examine(report, f"{label} {number}", function, tensors, execute)
            if progress is not None:
                progress(label, time.perf_counter() - started)
    return report


def print_report(report: Report, verbose: bool) -> None:
    print(f"samples captured                 {report.captured} (torch could not run or trace {report.uncaptured.total()})")
    print(f"  drawing random numbers         {report.random}")
    print(f"  with others than core ATen     {report.beyond}, of which lowered {report.beyond_lowered}")
    print(f"  of core ATen operators         {report.core}")
    print(f"    lowered without fallback     {report.lowered} ({report.share():.1%})")
    print(f"    with the right values        {report.checked}")
    for title, counter in (("missing", report.missing), ("beyond core ATen", report.not_core), ("not traced", report.uncaptured)):
        if counter and (verbose or title == "missing"):
            print(f"{title}:")
            for text, count in counter.most_common():
                example = report.missing_from.get(text, [""])[0]
                print(f"  {count:5d}  {text}  {example}")
    if report.wrong:
        print("wrong:")
        for text in report.wrong:
            print(f"  {text}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="?", default="", help="only entries whose name contains this")
    parser.add_argument("--limit", type=int, default=10, help="samples of each entry and dtype")
    parser.add_argument("--slow", action="store_true", help="show entries that took over five seconds")
    parser.add_argument("--verbose", action="store_true", help="also show what is not core ATen or cannot be traced")
    parser.add_argument("--json", help="write the counts to this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    def progress(label: str, seconds: float) -> None:
        if options.slow and seconds > 5:
            print(f"{seconds:6.1f}s  {label}", file=sys.stderr)

    report = run(options.names, options.limit, progress=progress)
    print_report(report, options.verbose)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"core": report.core, "lowered": report.lowered, "checked": report.checked, "wrong": report.wrong}, file)
    return 0 if report.share() >= 0.95 and not report.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
