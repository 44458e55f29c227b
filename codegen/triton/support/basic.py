"""What generated Triton kernels call: folds, dots, and the operators that Triton lacks or means differently.

Each function is plain Python over the built-in functions of `triton.language`. `tcomp.codegen.triton.kernel` copies those that a
module uses into its text, and `tcomp.codegen.triton.module` wraps them for the compiler or for the interpreter. So a function here
calls only others of the support files and built-ins, has its signature on one line, and uses no names of this module but `tl`.
Numbers have the dtype that the caller gave them: constants are exact in every dtype they meet.
"""

from __future__ import annotations

from typing import Any

import triton.language as tl


def maximum(a: Any, b: Any) -> Any:
    """The larger one, NaN if either is."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


def minimum(a: Any, b: Any) -> Any:
    """The smaller one, NaN if either is."""
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


def combine_sum(a: Any, b: Any) -> Any:
    """Join two sums."""
    return a + b


def combine_prod(a: Any, b: Any) -> Any:
    """Join two products."""
    return a * b


def combine_max(a: Any, b: Any) -> Any:
    """Join two maxima."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


def combine_min(a: Any, b: Any) -> Any:
    """Join two minima."""
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


def combine_xor(a: Any, b: Any) -> Any:
    """Join two exclusive disjunctions."""
    return a ^ b


def floor_divide(a: Any, b: Any) -> Any:
    """Integer division that rounds toward minus infinity."""
    quotient = a // b
    rest = a - quotient * b
    return tl.where((rest != 0) & ((rest < 0) != (b < 0)), quotient - 1, quotient)


def remainder(a: Any, b: Any) -> Any:
    """The rest of `floor_divide`, of the sign of b."""
    rest = a % b
    return tl.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)


def sign(x: Any) -> Any:
    """-1, 0 or 1 of a float; NaN of NaN."""
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, tl.where(x == x, 0.0, x)))


def is_nan(x: Any) -> Any:
    """Whether a float is NaN."""
    return x != x


def trunc(x: Any) -> Any:
    """Round toward zero."""
    return tl.where(x < 0, tl.ceil(x), tl.floor(x))


def copy_sign(a: Any, b: Any) -> Any:
    """The magnitude of a with the sign of b, zeros and NaN included."""
    bits: tl.constexpr = tl.int64 if a.dtype == tl.float64 else tl.int32
    magnitude: tl.constexpr = 0x7FFFFFFFFFFFFFFF if a.dtype == tl.float64 else 0x7FFFFFFF
    positive = a.to(bits, bitcast=True) & magnitude
    negative = b.to(bits, bitcast=True) < 0
    return tl.where(negative, (positive | (-1 - magnitude)).to(a.dtype, bitcast=True), positive.to(a.dtype, bitcast=True))


def round_half_even(x: Any) -> Any:
    """Round to the nearest integer, to the even one of two."""
    low = tl.floor(x)
    part = x - low
    is_even = tl.floor(low * 0.5) * 2.0 == low
    up = (part > 0.5) | ((part == 0.5) & (is_even == 0))
    return copy_sign(tl.where(up, low + 1.0, low), x)


def to_e4m3(x: Any) -> Any:
    """Round f32 to e4m3, which has no infinity: what is too large becomes 448."""
    return tl.where(x > 448.0, 448.0, tl.where(x < -448.0, -448.0, x)).to(tl.float8e4nv)


def to_e5m2(x: Any) -> Any:
    """Round f32 to e5m2; what is too large becomes infinite, where the hardware would take the largest number."""
    bits = x.to(tl.float8e5).to(tl.uint8, bitcast=True)
    infinite = tl.where(x > 0.0, 0x7C, 0xFC).to(tl.uint8)
    return tl.where(tl.abs(x) >= 61440.0, infinite, bits).to(tl.float8e5, bitcast=True)


def integer_sign(x: Any) -> Any:
    """-1, 0 or 1 of an integer."""
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)
