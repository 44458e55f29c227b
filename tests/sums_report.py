"""How exact long sums are beside eager's: `python -m tests.sums_report [--help]`.

Takes every operator that sums (statistics, norms, softmax, losses, cumulative sums), in f32, bf16 and f16, over 1e3 to 1e7 elements
along the first, the last and a middle dimension, two of three and all, of values around 0, 0.5 and 1000. A result may be twice as far
from float64 arithmetic as eager's, and half a unit in the last place of the exact result more, since where eager happens to be exact
nothing else could be as good. Prints a table and exits with 1 if any result is worse.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves

import tcomp

LENGTHS = (1_000, 4_099, 65_536, 1_000_003, 10_000_000)
OFFSETS = (0.0, 0.5, 1000.0)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MOST_ELEMENTS = 1 << 24
"""Elements of an input: results beside one another are as many as fit."""
MOST_RESULTS = 70

Dims = tuple[int, ...]
Function = Callable[[Tensor, Dims], object]


@dataclass(frozen=True)
class Operator:
    """A function of a tensor and the dimensions it sums over, and along which of them it is tried."""

    name: str
    function: Function
    layouts: tuple[str, ...] = ("first", "last", "middle", "two", "all")
    is_product: bool = False


@dataclass(frozen=True)
class Case:
    """One program: an operator on inputs of a dtype and a shape. Offsets of the values do not change it."""

    operator: Operator
    dtype: torch.dtype
    layout: str
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the input."""
        return shape_of(self.layout, self.length)[0]

    @property
    def dims(self) -> Dims:
        """The dimensions summed over."""
        return shape_of(self.layout, self.length)[1]


@dataclass(frozen=True)
class Row:
    """What one case gave for values around one offset; errors are the largest of all results, `excess` that beyond half a unit."""

    case: Case
    offset: float
    error: float
    excess: float
    eager: float

    @property
    def is_good(self) -> bool:
        """Whether the error is at most twice eager's, and half a unit in the last place."""
        return self.excess <= 2 * self.eager

    def __str__(self) -> str:
        ratio = self.error / self.eager if self.eager else math.inf if self.error else 1.0
        case = self.case
        text = f"{case.operator.name:16} {str(case.dtype)[6:]:9} {case.layout:7} {case.length:9} {self.offset:6g}"
        return f"{text} {self.error:10.3g} {self.eager:10.3g} {ratio:7.2f}{'' if self.is_good else '  WORSE'}"


HEADER = f"{'operator':16} {'dtype':9} {'axis':7} {'length':>9} {'offset':>6} {'error':>10} {'eager':>10} {'ratio':>7}"


def shape_of(layout: str, length: int) -> tuple[tuple[int, ...], Dims]:
    """The shape of an input and the dimensions of it that make up the length, as nearly as two factors can."""
    results = max(1, min(MOST_RESULTS, MOST_ELEMENTS // length))
    few = max(1, results // 7)
    outer = max(d for d in range(1, 65) if length % d == 0)
    match layout:
        case "first":
            return (length, results), (0,)
        case "last":
            return (results, length), (1,)
        case "middle":
            return (few, length, results // few), (1,)
        case "two":
            return (outer, results, length // outer), (0, 2)
        case _:
            return (length,), (0,)


def _group_norm(x: Tensor, dims: Dims) -> Tensor:
    return F.group_norm(x.reshape(1, -1, 2, x.shape[1] // 2) if x.shape[1] % 2 == 0 else x.reshape(1, *x.shape), x.shape[0])


def _channels(x: Tensor, dims: Dims) -> Tensor:
    """Normalised over the batch: channels are the second dimension."""
    return F.batch_norm(x, None, None, training=True)


def _cross_entropy(x: Tensor, dims: Dims) -> Tensor:
    return F.cross_entropy(x, torch.arange(x.shape[0]) % x.shape[1])


ONE = ("first", "last", "middle", "all")
OPERATORS = (
    Operator("sum", lambda x, d: x.sum(d)),
    Operator("mean", lambda x, d: x.mean(d)),
    Operator("var", lambda x, d: x.var(d)),
    Operator("std", lambda x, d: x.std(d)),
    Operator("norm 1", lambda x, d: torch.linalg.vector_norm(x, 1, d)),
    Operator("norm 2", lambda x, d: torch.linalg.vector_norm(x, 2, d)),
    Operator("norm 3", lambda x, d: torch.linalg.vector_norm(x, 3, d)),
    Operator("norm inf", lambda x, d: torch.linalg.vector_norm(x, math.inf, d)),
    Operator("logsumexp", lambda x, d: x.logsumexp(d)),
    Operator("softmax", lambda x, d: x.softmax(d[0]), ONE),
    Operator("log_softmax", lambda x, d: x.log_softmax(d[0]), ONE),
    Operator("cumsum", lambda x, d: x.cumsum(d[0]), ONE),
    Operator("prod", lambda x, d: x.prod(d[0]), ONE, is_product=True),
    Operator("cumprod", lambda x, d: x.cumprod(d[0]), ONE, is_product=True),
    Operator("layer_norm", lambda x, d: F.layer_norm(x, x.shape[-1:]), ("last", "all")),
    Operator("group_norm", _group_norm, ("last",)),
    Operator("batch_norm", _channels, ("first", "two")),
    Operator("cosine", lambda x, d: F.cosine_similarity(x, x.flip(d[0]), d[0]), ONE),
    Operator("mse", lambda x, d: F.mse_loss(x, x.flip(0)), ("all", "first")),
    Operator("l1", lambda x, d: F.l1_loss(x, x.flip(0)), ("all", "first")),
    Operator("cross_entropy", _cross_entropy, ("first",)),
)


class _Module(torch.nn.Module):
    def __init__(self, function: Function, dims: Dims):
        super().__init__()
        self.function = function
        self.dims = dims

    def forward(self, x: Tensor) -> object:
        return self.function(x, self.dims)


def find_cases(
    operators: Sequence[Operator], dtypes: Sequence[torch.dtype], lengths: Sequence[int], layouts: Sequence[str] = ()
) -> Iterator[Case]:
    """All combinations; one sum alone is as long as said, results beside one another may make an input shorter than that."""
    for operator, dtype, length in itertools.product(operators, dtypes, lengths):
        for layout in operator.layouts:
            if not layouts or layout in layouts:
                yield Case(operator, dtype, layout, length)


def make_input(case: Case, offset: float, seed: int = 0) -> Tensor:
    """Values around an offset; for products around one, so close that neither they nor their product vanish."""
    values = torch.randn(case.shape, generator=torch.Generator().manual_seed(seed))
    if case.operator.is_product:
        return (1 + values / math.sqrt(case.length) / 4).to(case.dtype)
    return (values + offset).to(case.dtype)


def half_units(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """Half a unit in the last place of each result, as a float64."""
    info = torch.finfo(dtype)
    exponent = torch.frexp(exact.abs().clamp(min=info.smallest_normal))[1]
    return torch.ldexp(torch.ones_like(exact), exponent - 1) * info.eps / 2


def measure(case: Case, offsets: Sequence[float] = OFFSETS) -> Iterator[Row]:
    """Compile a case and compare it with eager for values around each offset."""
    module = _Module(case.operator.function, case.dims)
    compiled = tcomp.compile(module, (make_input(case, 0.0),), fallback="error")
    for offset in offsets[:1] if case.operator.is_product else offsets:
        x = make_input(case, offset)
        exact, ours, eager = module(x.double()), compiled(x), module(x)
        error = excess = beside = 0.0
        for want, got, other in zip(tree_leaves(exact), tree_leaves(ours), tree_leaves(eager), strict=True):
            away = (got.double() - want).abs()
            away[got.double() == want] = 0.0
            beyond = away - half_units(want, got.dtype)
            theirs = (other.double() - want).abs()
            theirs[other.double() == want] = 0.0
            error, excess = max(error, away.max().item()), max(excess, beyond.max().item())
            beside = max(beside, theirs.max().item())
        yield Row(case, offset, error, excess, beside)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="operators; all by default")
    parser.add_argument("--dtype", action="append", choices=[str(t)[6:] for t in DTYPES], help="element types; all by default")
    parser.add_argument("--length", action="append", type=int, help=f"elements of a sum; {LENGTHS} by default")
    parser.add_argument("--axis", action="append", choices=OPERATORS[0].layouts, help="dimensions summed over; all by default")
    options = parser.parse_args()
    operators = [o for o in OPERATORS if not options.names or o.name in options.names]
    dtypes = [t for t in DTYPES if not options.dtype or str(t)[6:] in options.dtype]
    print(HEADER)
    worse = count = 0
    for case in find_cases(operators, dtypes, options.length or LENGTHS, options.axis or ()):
        for row in measure(case):
            print(row, flush=True)
            worse, count = worse + (not row.is_good), count + 1
    print(f"{count} sums, {worse} worse than twice eager's error and half a unit in the last place")
    return 1 if worse else 0


if __name__ == "__main__":
    with torch.no_grad():
        sys.exit(main())
