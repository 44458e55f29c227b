"""Functions that models rarely need, for generated Triton kernels; see `tcomp.codegen.triton.support.basic`.

All compute floats in f64 and round once. Relative errors are about 1e-15 where nothing else is stated.
"""

from __future__ import annotations

from typing import Any

import triton.language as tl

from tcomp.codegen.triton.support.basic import copy_sign, round_half_even


def erfc(x: Any) -> Any:
    """1 - erf(x): t p(t) e^-x^2 with t = 2 / (2 + |x|), p of degree 24. The rounding of x^2 leaves a relative error of x^2 1e-16."""
    wide = x.to(tl.float64)
    z = tl.abs(wide)
    t = 2.0 / (2.0 + z)
    s = 2.0 * t - 1.0
    p = s * -2.2124653785049848e-09 + 6.618547737616718e-09
    p = p * s + 8.331398302988539e-09
    p = p * s - 5.1579015426615876e-08
    p = p * s + 3.1237899528464255e-08
    p = p * s + 1.5002373169874064e-07
    p = p * s - 3.1904880762943956e-07
    p = p * s + 1.527560153078624e-08
    p = p * s + 1.023671759497573e-06
    p = p * s - 1.8346763716451883e-06
    p = p * s - 5.732747033044422e-07
    p = p * s + 8.066868949358842e-06
    p = p * s - 1.0844830478580393e-05
    p = p * s - 1.7076546276097942e-05
    p = p * s + 7.223470153006039e-05
    p = p * s - 1.7185277049606434e-05
    p = p * s - 0.0003315366672107297
    p = p * s + 0.00041864797455347
    p = p * s + 0.0015453060235237155
    p = p * s - 0.0032395925298231458
    p = p * s - 0.010755330944543402
    p = p * s + 0.018221115753306545
    p = p * s + 0.13973604627802544
    p = p * s + 0.3435803422069066
    p = p * s + 0.5107913526210115
    tail = tl.where(z == float("inf"), 0.0, t * p * tl.exp(-z * z))
    return tl.where(wide < 0.0, 2.0 - tail, tail).to(x.dtype)


def erfinv(x: Any) -> Any:
    """Winitzki's approximation, then Halley's iteration on erf, near 1 on erfc; relative error about 1e-14."""
    wide = x.to(tl.float64)
    a = tl.abs(wide)
    w = -tl.log((1.0 - a) * (1.0 + a))
    c = 4.330746750799873 - 0.5 * w
    y = tl.sqrt(tl.sqrt(c * c + w / 0.147) - c)
    for _ in range(3):
        miss = tl.where(a < 0.5, tl.erf(y) - a, (1.0 - a) - erfc(y))
        step = miss * tl.exp(y * y) * 0.886226925452758
        y = y - step / (1.0 + y * step)
    y = tl.where(a < 1e-9, a * 0.886226925452758, y)
    y = tl.where(a == 1.0, float("inf"), tl.where(a < 1.0, y, float("nan")))
    return copy_sign(y.to(x.dtype), x)


def sine_of_turns(x: Any) -> Any:
    """sin(pi x) for f64 x, exact zeros at integers; the sign is not kept."""
    return tl.abs(tl.sin(3.141592653589793 * (x - round_half_even(x))))


def lgamma(x: Any) -> Any:
    """Log |gamma(x)| by Lanczos (g = 7, 9 terms), reflected below 1/2. Next to the roots the error is absolute, about 1e-14."""
    wide = x.to(tl.float64)
    is_low = wide < 0.5
    z = tl.where(is_low, -wide, wide - 1.0)
    t = z + 7.5
    total = 0.99999999999980993 + 676.5203681218851 / (z + 1.0)
    total = total - 1259.1392167224028 / (z + 2.0)
    total = total + 771.32342877765313 / (z + 3.0)
    total = total - 176.61502916214059 / (z + 4.0)
    total = total + 12.507343278686905 / (z + 5.0)
    total = total - 0.13857109526572012 / (z + 6.0)
    total = total + 9.9843695780195716e-06 / (z + 7.0)
    total = total + 1.5056327351493116e-07 / (z + 8.0)
    high = 0.91893853320467274 + (z + 0.5) * tl.log(t) - t + tl.log(total)
    sine = sine_of_turns(wide)
    result = tl.where(is_low, 1.1447298858494002 - tl.log(sine) - high, high)
    is_pole = (wide <= 0.0) & (tl.floor(wide) == wide)
    result = tl.where(is_pole | (tl.abs(wide) == float("inf")), float("inf"), result)
    return result.to(x.dtype)


def digamma(x: Any) -> Any:
    """The derivative of lgamma: recurrence up to 10, then the asymptotic series; reflection below 0.

    Next to a root the error is absolute. As in PyTorch it is infinite at 0 and -0, of the opposite sign, and NaN at negative integers.
    """
    wide = x.to(tl.float64)
    is_low = wide < 0.0
    fraction = 3.141592653589793 * (wide - round_half_even(wide))
    reflected = tl.where(is_low, -3.141592653589793 * tl.cos(fraction) / tl.sin(fraction), 0.0)
    z = tl.where(is_low, 1.0 - wide, wide)
    for _ in range(10):
        is_small = z < 10.0
        reflected = tl.where(is_small, reflected - 1.0 / z, reflected)
        z = tl.where(is_small, z + 1.0, z)
    u = 1.0 / (z * z)
    s = 0.007575757575757576 - u * (0.021092796092796094 - u * 0.08333333333333333)
    s = u * (0.08333333333333333 - u * (0.008333333333333333 - u * (0.003968253968253968 - u * (0.004166666666666667 - u * s))))
    result = reflected + tl.log(z) - 0.5 / z - s
    result = tl.where(wide == float("inf"), wide, result)
    result = tl.where((is_low & (tl.floor(wide) == wide)) | (wide == float("-inf")), float("nan"), result)
    return tl.where(wide == 0.0, -1.0 / wide, result).to(x.dtype)


def power(x: Any, y: Any) -> Any:
    """x^y as e^(y log |x|), with the signs and special values of C's pow; the relative error of f64 grows to 1e-13."""
    base = x.to(tl.float64)
    exponent = y.to(tl.float64)
    result = tl.exp(exponent * tl.log(tl.abs(base)))
    is_whole = tl.floor(exponent) == exponent
    is_odd = is_whole & (tl.floor(exponent * 0.5) * 2.0 != exponent)
    is_below = base.to(tl.int64, bitcast=True) < 0
    result = tl.where(is_below & is_odd, -result, result)
    result = tl.where((base < 0.0) & (base != float("-inf")) & (is_whole == 0) & (exponent == exponent), float("nan"), result)
    is_one = (base == 1.0) | (exponent == 0.0) | ((base == -1.0) & (tl.abs(exponent) == float("inf")))
    return tl.where(is_one, 1.0, result).to(x.dtype)


def hypot(x: Any, y: Any) -> Any:
    """sqrt(x^2 + y^2) without overflow."""
    a = tl.abs(x.to(tl.float64))
    b = tl.abs(y.to(tl.float64))
    large = tl.where(a > b, a, b)
    ratio = tl.where(a > b, b, a) / large
    result = tl.where(large == 0.0, large, large * tl.sqrt(1.0 + ratio * ratio))
    result = tl.where((a != a) | (b != b), a + b, result)
    return tl.where((a == float("inf")) | (b == float("inf")), float("inf"), result).to(x.dtype)


def next_after_single(x: Any, y: Any) -> Any:
    """The f32 next to x on the way to y."""
    bits = x.to(tl.int32, bitcast=True)
    toward_zero = (x > y) == (x > 0.0)
    moved = tl.where(toward_zero, bits - 1, bits + 1).to(tl.float32, bitcast=True)
    smallest = copy_sign((bits * 0 + 1).to(tl.float32, bitcast=True), y)
    result = tl.where(x == 0.0, smallest, moved)
    return tl.where((x != x) | (y != y), x + y, tl.where(x == y, y, result))


def next_after(x: Any, y: Any) -> Any:
    """The f64 next to x on the way to y."""
    bits = x.to(tl.int64, bitcast=True)
    toward_zero = (x > y) == (x > 0.0)
    moved = tl.where(toward_zero, bits - 1, bits + 1).to(tl.float64, bitcast=True)
    smallest = copy_sign((bits * 0 + 1).to(tl.float64, bitcast=True), y)
    result = tl.where(x == 0.0, smallest, moved)
    return tl.where((x != x) | (y != y), x + y, tl.where(x == y, y, result))


def float_modulus(x: Any, y: Any) -> Any:
    """The exact rest of x / y rounded toward zero, of the sign of x: C's fmod. f64 is exact up to quotients of 2^53.

    A step takes a multiple of y from x whose factor has 28 bits: the product and the difference are exact for f32 operands.
    """
    rest = tl.abs(tl.where(y == y, x, x).to(tl.float64))
    divisor = tl.abs(y.to(tl.float64))
    for _ in range(11):
        quotient = rest / divisor
        # A little less, so that the factor is never above the true quotient.
        leading = (quotient * 0.999999999999999).to(tl.int64, bitcast=True) & 0x7FFFFFFFFE000000
        factor = tl.where(quotient < 134217728.0, tl.floor(quotient), leading.to(tl.float64, bitcast=True))
        rest = tl.fma(-factor, divisor, rest)
        rest = tl.where(rest < 0.0, rest + divisor, rest)
    rest = tl.where(divisor == float("inf"), tl.abs(x.to(tl.float64)), rest)
    is_undefined = (tl.abs(x) == float("inf")) | (y == 0.0) | (x != x) | (y != y)
    return copy_sign(tl.where(is_undefined, float("nan"), rest).to(x.dtype), x)


def float_remainder(x: Any, y: Any) -> Any:
    """The rest of x / y rounded toward minus infinity, of the sign of y: Python's %."""
    rest = float_modulus(x, y)
    shifted = tl.where((rest < 0.0) != (y < 0.0), rest + y, rest)
    return tl.where(rest == 0.0, copy_sign(rest, y), shifted)


def natural_power(x: Any, y: Any) -> Any:
    """x^y of integers by squaring, wrapping; y is not negative."""
    # What a loop carries keeps its shape, so all have that of both from the start.
    nothing = x * 0 + y * 0
    x = x + nothing
    y = y + nothing
    result = nothing + 1
    for _ in range(63):
        result = tl.where((y & 1) != 0, result * x, result)
        x = x * x
        y = y >> 1
    return result


def integer_power(x: Any, y: Any) -> Any:
    """x^y of signed integers; a negative y gives 1 / x^-y rounded to zero, and 0 for x = 0."""
    inverse = tl.where((x == -1) & ((y & 1) == 0), x * 0 + 1, x)
    inverse = tl.where((x == 1) | (x == -1), inverse, x * 0)
    return tl.where(y < 0, inverse, natural_power(x, tl.where(y < 0, y * 0, y)))
