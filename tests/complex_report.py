"""How fast operators on complex tensors are beside eager: `python -m tests.complex_report [--help]`.

Each is first compared with eager in complex128. Then both take turns; printed are the least time of either, their ratio (above 1, tcomp
is faster), and the quartiles of the ratios of single turns. Beside other work the least times say most, and `--threads 1` with times of
the processor instead of the clock.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

import tcomp
from tcomp.reference import is_right, list_tensors, measure_error, run_reference
from tests.compiled import Function


@dataclass(frozen=True, slots=True)
class Case:
    """A function of tensors of which some are complex: shapes of complex64 ones, and of float32 ones after them, for a size n."""

    function: Callable[..., object]
    complexes: Callable[[int], Sequence[tuple[int, ...]]]
    floats: Callable[[int], Sequence[tuple[int, ...]]] = lambda n: ()


def _turn(turns: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Rotary embedding."""
    return torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * turns).flatten(-2)


def _one(n: int) -> Sequence[tuple[int, ...]]:
    return ((n, n),)


def _two(n: int) -> Sequence[tuple[int, ...]]:
    return ((n, n), (n, n))


CASES = {
    "mul": Case(torch.mul, _two),
    "add": Case(torch.add, _two),
    "div": Case(torch.div, _two),
    "chain": Case(lambda a, b: (a * b + a) * 2 - b.conj(), _two),
    "cube": Case(lambda a, b: (a * b) * a * (b + a), _two),
    "vector times weight": Case(torch.mul, lambda n: ((n, n), (n,))),
    "rotary": Case(_turn, lambda n: ((n, 1, 32),), lambda n: ((2, n, 8, 64),)),
    "exp": Case(torch.exp, _one),
    "abs": Case(torch.abs, _one),
    "transpose": Case(lambda a: a.t().contiguous(), _one),
    "product with a transpose": Case(lambda a, b: a.t() * b, _two),
    "every other": Case(lambda a, b: a[:, ::2] * b[:, 1::2], _two),
    "flip": Case(lambda a: a.flip(-1), _one),
    "cat": Case(lambda a, b: torch.cat((a, b), -1), _two),
    "sum of the last axis": Case(lambda a: a.sum(-1), _one),
    "sum over rows": Case(lambda a: a.sum(0), _one),
    "sum": Case(torch.sum, _one),
    "mv": Case(torch.mv, lambda n: ((n, n), (n,))),
    "mm": Case(torch.mm, _two),
    "bmm": Case(torch.bmm, lambda n: ((16, n // 4, n // 4), (16, n // 4, n // 4))),
    "real add (for comparison)": Case(torch.add, lambda n: (), lambda n: ((n, 2 * n), (n, 2 * n))),
    "real sum of the last axis": Case(lambda a: a.sum(-1), lambda n: (), lambda n: ((n, 2 * n),)),
    "real transpose": Case(lambda a: a.t().contiguous(), lambda n: (), lambda n: ((n, 2 * n),)),
    "real mm": Case(torch.mm, lambda n: (), lambda n: ((n, 2 * n), (2 * n, n))),
}


def main() -> int:
    """Print a line for each case; 1 if any is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"which ones (all): {', '.join(CASES)}")
    parser.add_argument("--sizes", nargs="*", type=int, default=[500, 512, 1024], help="rows and columns (500 512 1024)")
    parser.add_argument("--threads", type=int, default=2, help="threads (2); with 1, times are those of the processor")
    parser.add_argument("--turns", type=int, default=40, help="how often either runs (40)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.thread_time_ns if options.threads == 1 else time.perf_counter_ns
    wrong = 0
    print(f"{'case':28}{'size':>6}{'tcomp ms':>11}{'eager ms':>11}{'x eager':>9}  quartiles")
    for name in options.cases or CASES:
        for size in options.sizes:
            wrong += not _report(name, size, options.turns, clock)
    return int(wrong > 0)


def _report(name: str, size: int, turns: int, clock: Callable[[], int]) -> bool:
    case, generator = CASES[name], torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.complex64, generator=generator) for shape in case.complexes(size)]
    inputs += [torch.randn(shape, generator=generator) for shape in case.floats(size)]
    module = Function(case.function)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = tcomp.compile(module, tuple(inputs))
        exact, eager = run_reference(module, tuple(inputs)), list_tensors(module(*inputs))
        error, allowed = (measure_error(list_tensors(values), exact) for values in (compiled(*inputs), eager))
        right = is_right(error, allowed, eager)
        ours, theirs = _time(lambda: compiled(*inputs), lambda: module(*inputs), turns, clock)
    ratios = statistics.quantiles([b / a for a, b in zip(ours, theirs)], n=4)
    left = ", left to PyTorch" if compiled.fallbacks else ""
    best, other = min(ours) / 1e6, min(theirs) / 1e6
    print(
        f"{name:28}{size:6}{best:11.3f}{other:11.3f}{other / best:9.2f}  {ratios[0]:.2f} {ratios[2]:.2f}"
        f"{left}{'' if right else f'  WRONG: error {error:.3g}, eager {allowed:.3g}'}",
        flush=True,
    )
    return right


def _time(ours: Callable[[], object], theirs: Callable[[], object], turns: int, clock: Callable[[], int]) -> tuple[list[int], list[int]]:
    """Nanoseconds of each of so many calls of either, in turns, after two that do not count."""
    times: tuple[list[int], list[int]] = ([], [])
    for turn in range(turns + 2):
        for call, found in zip((ours, theirs), times):
            start = clock()
            call()
            if turn > 1:
                found.append(clock() - start)
    return times


if __name__ == "__main__":
    sys.exit(main())
