"""ATen operators to einsums: one table, one small function an operator.

Importing this package fills the table: each module below enters its lowerings on import.
"""

from importlib import import_module

from tcomp.lowerings.builder import Array, Builder, Operand, Program, Result
from tcomp.lowerings.table import LOWERINGS, Lowering, lowers
from tcomp.torch_types import dtype_of

MODULES = tuple(
    import_module(f"{__name__}.{name}")
    for name in (
        "activations",
        "adaptive_pooling",
        "comparisons",
        "convolution",
        "creation",
        "distance",
        "embedding_bag",
        "grid_sampler",
        "indexing",
        "joining",
        "matmul",
        "normalisation",
        "pointwise",
        "pooling",
        "reductions",
        "resampling",
        "scans",
        "scatter",
        "softmax",
        "sorting",
        "unfolding",
        "views",
    )
)
"""The modules that hold lowerings."""

__all__ = ["LOWERINGS", "MODULES", "Array", "Builder", "Lowering", "Operand", "Program", "Result", "dtype_of", "lowers"]
