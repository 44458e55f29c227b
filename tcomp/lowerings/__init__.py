"""ATen operators to einsums: one table, one small function an operator.

Importing this package fills the table: each module below enters its lowerings on import.
"""

from importlib import import_module

from tcomp.lowerings.builder import Array, Builder, Operand, Program, Result
from tcomp.lowerings.pairs import PAIRED, Pairs, is_complex, store
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
        "complex_moves",
        "complex_functions",
        "complex_products",
    )
)
"""The modules that hold lowerings; those of complex numbers take up those of real ones."""

__all__ = [
    "LOWERINGS",
    "MODULES",
    "PAIRED",
    "Array",
    "Builder",
    "Lowering",
    "Operand",
    "Pairs",
    "Program",
    "Result",
    "dtype_of",
    "is_complex",
    "lowers",
    "store",
]
