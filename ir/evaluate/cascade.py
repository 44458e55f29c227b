"""The meaning of a cascade, executable: the oracle that every pass, kernel and lowering is tested against.

The definition of a cascade leaves two choices open: `minimum` and `maximum` may return either zero of -0.0 and 0.0, and sums
associate in any order. A condition that fails at run time (an index outside its tensor, a shape that does not fit) raises
VerifyError.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from tcomp.ir.cascade import Cascade, Iteration, Symbol, Tensor, print_tensor
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.arrays import Array, round_float, storage
from tcomp.ir.evaluate.einsum import EinsumEvaluator
from tcomp.ir.evaluate.expressions import extent_value


def evaluate(
    cascade: Cascade,
    inputs: Mapping[str, Array],
    symbols: Mapping[str, int] | None = None,
    *,
    float64: bool = False,
    keep: bool = False,
) -> dict[str, Array]:
    """Evaluate a verified cascade; return its outputs by name, or every tensor with `keep`.

    Symbols are read off the inputs' shapes where an extent is a bare symbol; `symbols` gives the others. With `float64`, floats
    are computed and returned in float64 without rounding. Raises VerifyError if inputs do not fit the cascade.
    """
    known = _bind_symbols(cascade, inputs, symbols or {})
    table = cascade.tensors()
    dtypes = {name: tensor.dtype for name, tensor in table.items()}
    arrays = {tensor.name: _take_input(tensor, inputs[tensor.name], known, float64) for tensor in cascade.inputs}
    evaluator = EinsumEvaluator(known, dtypes, arrays, float64)
    for statement in cascade.statements:
        if isinstance(statement, Iteration):
            evaluator.iterate(statement)
        else:
            evaluator.allocate(statement)
            evaluator.run(statement)
    return {name: arrays[name] for name in (table if keep else cascade.outputs)}


def _bind_symbols(cascade: Cascade, inputs: Mapping[str, Array], given: Mapping[str, int]) -> dict[str, int]:
    known = dict(given)
    for tensor in cascade.inputs:
        if tensor.name not in inputs:
            raise VerifyError(
                f"input {tensor.name} is missing", where=f"cascade {cascade.name}", help="pass an array for every input"
            )
        array = inputs[tensor.name]
        if array.ndim != len(tensor.shape):
            raise VerifyError(
                f"{tensor.name} has {array.ndim} axes, not {len(tensor.shape)}", where=f"cascade {cascade.name}"
            )
        for extent, length in zip(tensor.shape, array.shape):
            name = extent.as_variable
            if name is not None:
                known.setdefault(name, length)
    for symbol in cascade.symbols:
        _check_symbol(cascade, symbol, known)
    return known


def _check_symbol(cascade: Cascade, symbol: Symbol, known: Mapping[str, int]) -> None:
    value = known.get(symbol.name)
    if value is None:
        raise VerifyError(
            f"the size {symbol.name} is unknown",
            where=f"cascade {cascade.name}",
            help="no input has it as an extent of its own: pass it in `symbols`",
        )
    if value < symbol.low or (symbol.high is not None and value > symbol.high):
        raise VerifyError(
            f"{symbol.name} = {value} is not in {symbol.low}..{'' if symbol.high is None else symbol.high}",
            where=f"cascade {cascade.name}",
        )


def _take_input(tensor: Tensor, array: Array, symbols: Mapping[str, int], float64: bool) -> Array:
    shape = tuple(extent_value(extent, symbols) for extent in tensor.shape)
    if array.shape != shape:
        raise VerifyError(
            f"{tensor.name} has shape {list(array.shape)}, not {list(shape)}",
            where=print_tensor(tensor),
        )
    kinds = {"float": "f", "int": "iu", "bool": "b"}
    if array.dtype.kind not in kinds[tensor.dtype.kind]:
        raise VerifyError(f"{tensor.name} holds {array.dtype}, not {tensor.dtype}", help="convert it first")
    held = array.astype(storage(tensor.dtype, float64), copy=False)
    return numpy.asarray(held if float64 else round_float(held, tensor.dtype), order="C")
