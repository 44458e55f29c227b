"""What a case is, and what its inputs are drawn with.

A case makes a module and its inputs, on the CPU, from the process's random state. It asks `n(full, small)` for sizes: full ones keep a
GPU busy with several tiles and tails, small ones suit an interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from tests.compiled import Function

Pick: TypeAlias = Callable[[int, int], int]
Inputs: TypeAlias = tuple[Any, ...]
Tolerance: TypeAlias = Literal["float", "exact", "tf32"]
"""What a result may be: "float": at most twice as far from float64 as eager's, or a few roundings; "exact": eager's, bit for bit; "tf32":
as "float", both with matrices multiplied in tf32."""

f16, bf16, f64 = torch.float16, torch.bfloat16, torch.float64


@dataclass(frozen=True, slots=True)
class Case:
    """A module and inputs, by a function of the sizes wanted."""

    name: str
    """family/case."""
    make: Callable[[Pick], tuple[nn.Module, Inputs]]
    tolerance: Tolerance = "float"
    options: dict[str, Any] = field(default_factory=dict)
    """For tcomp.compile."""

    @property
    def family(self) -> str:
        """What the name begins with."""
        return self.name.partition("/")[0]


def case(name: str, function: Callable[..., Any], draw: Callable[[Pick], Inputs], tolerance: Tolerance = "float", **options: Any) -> Case:
    """A case that is a function of tensors."""
    return Case(name, lambda n: (Function(function), draw(n)), tolerance, options)


def build_case(made: Case, *, small: bool) -> tuple[nn.Module, Inputs]:
    """The module of a case without gradients, and its inputs; the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(made.name.encode()))
        module, inputs = made.make(lambda full, reduced: reduced if small else full)
    return module.requires_grad_(False), inputs


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(dtype)


def ints(high: int, *shape: int, low: int = 0, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.randint(low, high, shape, dtype=dtype)


def bools(*shape: int) -> Tensor:
    return torch.rand(*shape) < 0.5


def specials(*shape: int) -> Tensor:
    """Random numbers, of which some are NaN, infinite or zero."""
    x = torch.randn(*shape)
    for value in (float("nan"), float("inf"), -float("inf"), 0.0, -0.0):
        x[torch.rand(*shape) < 0.05] = value
    return x
