"""Operators that refuse some element types in eager, which PyTorch's rules for shapes and its decompositions let pass.

A decomposition computes with whatever types it is given (a float64 matrix times a float32 one, the softplus of integers), so the
types are looked at before it, and the error is raised while the program is recorded, as eager raises it when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx.traceback import get_current_meta

aten = torch.ops.aten

Decomposition = Callable[..., Any]
Rule = Callable[..., str | None]
"""Says what is wrong with an operator's arguments; None if nothing is."""

_NARROW = (torch.bfloat16, torch.float16)


class RefusedType(NotImplementedError):  # noqa: N818 (says what happened)
    """An element type that an operator does not take. Of a missing kernel eager raises the base, a RuntimeError as all others are."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.stack_trace = str(get_current_meta().get("stack_trace") or "")
        """The user's lines, as Dynamo has noted them of the node that AOTAutograd follows."""


def _are_alike(*args: Any) -> str | None:
    """All tensors have one type."""
    dtypes = dict.fromkeys(arg.dtype for arg in args if isinstance(arg, Tensor))
    return f"expected tensors of the same dtype, but got {' and '.join(map(str, dtypes))}" if len(dtypes) > 1 else None


def _are_floats_alike(*args: Any) -> str | None:
    """All tensors of floats have one type, whatever the indices among them have."""
    return _are_alike(*(arg for arg in args if isinstance(arg, Tensor) and arg.dtype.is_floating_point))


def _are_stored_alike(x: Tensor, indices: Any, values: Tensor, *_: Any) -> str | None:
    """What is stored has the type of what it is stored to."""
    return _are_alike(x, values)


def _are_parameters_alike(x: Tensor, *args: Any) -> str | None:
    """On the CPU the parameters of a norm have its input's type, or are f32 and the input is narrower."""
    if x.device.type != "cpu":
        return None
    allowed = (x.dtype, torch.float32) if x.dtype in _NARROW else (x.dtype,)
    wrong = [arg.dtype for arg in args if isinstance(arg, Tensor) and arg.dtype not in allowed]
    return f"mixed dtype: parameters of {wrong[0]} with an input of {x.dtype}" if wrong else None


def _is_between_alike(x: Tensor, end: Tensor, weight: Any, *_: Any) -> str | None:
    return _are_alike(x, end, weight)


def _is_no_integer_quotient(x: Tensor, first: Tensor, second: Tensor, *_: Any) -> str | None:
    is_float = any(arg.dtype.is_floating_point or arg.dtype.is_complex for arg in (first, second))
    return None if is_float else "integer division with addcdiv is not supported"


def _is_float(x: Tensor, *_: Any) -> str | None:
    return None if x.dtype.is_floating_point or x.dtype.is_complex else f"not implemented for {x.dtype}"


def _is_no_bool(x: Any, *_: Any) -> str | None:
    return "not implemented for torch.bool" if isinstance(x, Tensor) and x.dtype == torch.bool else None


def _are_not_all_bools(*args: Any) -> str | None:
    is_bool = all(arg.dtype == torch.bool if isinstance(arg, Tensor) else isinstance(arg, bool) for arg in args[:2])
    return "not implemented for torch.bool" if is_bool else None


def _are_no_bools(*args: Any) -> str | None:
    return next(filter(None, map(_is_no_bool, args[:2])), None)


def _are_no_floats(*args: Any) -> str | None:
    is_float = any(arg.dtype.is_floating_point if isinstance(arg, Tensor) else isinstance(arg, float) for arg in args[:2])
    return "not implemented for floats" if is_float else None


def _is_whole_power(x: Tensor, exponent: float, *_: Any) -> str | None:
    is_whole = x.dtype.is_floating_point or x.dtype.is_complex or not isinstance(exponent, int) or exponent >= 0
    return None if is_whole else "integers to negative integer powers are not allowed"


def _is_long(x: Tensor, index: Tensor, *_: Any) -> str | None:
    return None if index.dtype == torch.int64 else f"expected a long tensor for index, but got {index.dtype}"


def _is_index(x: Tensor, dim: int, index: Tensor, *_: Any) -> str | None:
    return None if index.dtype in (torch.int32, torch.int64) else f"expected an index of int32 or int64, but got {index.dtype}"


def _is_target(x: Tensor, target: Tensor, *args: Any) -> str | None:
    if target.dtype not in (torch.int64, torch.uint8):
        return f"expected targets of int64 or uint8, but got {target.dtype}"
    return _are_floats_alike(x, *args)


_RULES: Sequence[tuple[Rule, Iterable[OpOverload]]] = (
    (
        _are_alike,
        (
            *(aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default, aten.mv.default, aten.addmv.default),
            *(aten.convolution.default, aten.lerp.Scalar, aten.binary_cross_entropy.default, aten.heaviside.default),
            *(aten.grid_sampler_2d.default, aten.grid_sampler_3d.default, aten._cdist_forward.default, aten.linalg_cross.default),
        ),
    ),
    (_is_between_alike, (aten.lerp.Tensor,)),
    (_is_no_integer_quotient, (aten.addcdiv.default,)),
    (_are_floats_alike, (aten._embedding_bag.default, aten._embedding_bag_forward_only.default)),
    (_are_stored_alike, (aten.index_put.default, aten.put.default)),
    (
        _are_parameters_alike,
        (
            *(aten.native_layer_norm.default, aten.native_group_norm.default),
            *(aten._native_batch_norm_legit.default, aten._native_batch_norm_legit_no_training.default),
            *(aten._native_batch_norm_legit.no_stats, aten._native_batch_norm_legit_functional.default),
        ),
    ),
    (
        _is_float,
        (
            *(aten._softmax.default, aten._log_softmax.default, aten.var.correction, aten.std.correction, aten.var_mean.correction),
            *(aten.gelu.default, aten.silu.default, aten.softplus.default, aten.hardswish.default, aten.mish.default),
            *(aten.log_sigmoid_forward.default, aten.glu.default),
        ),
    ),
    (
        _is_no_bool,
        (
            *(aten.abs.default, aten.floor.default, aten.relu.default, aten.argmax.default, aten.argmin.default),
            *(aten.topk.default, aten.median.default, aten.median.dim),
        ),
    ),
    (_are_not_all_bools, (aten.remainder.Tensor, aten.pow.Tensor_Tensor)),
    (_are_no_bools, (aten.sub.Tensor, aten.rsub.Scalar, aten.rsub.Tensor)),
    (
        _are_no_floats,
        (
            *(aten.bitwise_and.Tensor, aten.bitwise_or.Tensor, aten.bitwise_xor.Tensor, aten.bitwise_not.default),
            *(aten.bitwise_and.Scalar, aten.bitwise_or.Scalar, aten.bitwise_xor.Scalar),
        ),
    ),
    (_is_whole_power, (aten.pow.Tensor_Scalar,)),
    (_is_long, (aten.take.default,)),
    (_is_index, (aten.index_select.default,)),
    (_is_target, (aten.nll_loss_forward.default, aten.nll_loss2d_forward.default)),
)


def typed(base: Mapping[OpOverload, Decomposition]) -> dict[OpOverload, Decomposition]:
    """The operators that refuse types, over the decompositions that they would have without, if any."""
    return {op: _guard(op, rule, base.get(op)) for rule, operators in _RULES for op in operators}


def _guard(op: OpOverload, rule: Rule, base: Decomposition | None) -> Decomposition:
    def decompose(*args: Any, **kwargs: Any) -> Any:
        wrong = rule(*args)
        if wrong is not None:
            raise RefusedType(f"{op}: {wrong}")
        return NotImplemented if base is None else base(*args, **kwargs)

    return decompose
