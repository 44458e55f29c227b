"""Special functions for generated Triton kernels, written with what `triton.language` has; see `tcomp.codegen.triton.support.basic`.

Those that end in `_single` compute in f32, within 4 units in the last place of f32. The others compute in f64 whatever they are
given, with a relative error of about 1e-15 where nothing else is stated, and round once. The functions of Triton beneath them are
those of CUDA's libdevice for f64; for f32 `tl.exp` multiplies by log2(e) first, so that its relative error grows as |x| 6e-8.
Special values are those of C's libm.
"""

from __future__ import annotations

from typing import Any

import triton.language as tl

from tcomp.codegen.triton.support.basic import copy_sign


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x), with its relative accuracy for negative x."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


def expm1_single(x: Any) -> Any:
    """e^x - 1 as 2^n (e^r - 1) + (2^n - 1) with x = n ln 2 + r; a minimax polynomial in r."""
    bounded = tl.where(x > 88.0, 88.0, tl.where(x < -20.0, -20.0, x))
    n = tl.floor(bounded * 1.4426950408889634 + 0.5)
    r = (bounded - n * 0.693145751953125) - n * 1.428606765330187e-06
    q = r * 0.0013898108154535294 + 0.008373110555112362
    q = q * r + 0.041666857898235321
    q = q * r + 0.16666631400585175
    q = q * r + 0.5
    scale = tl.exp2(n)
    result = tl.where(x > 88.0, tl.exp(x), (q * (r * r) + r) * scale + (scale - 1.0))
    return tl.where(x == 0.0, x, result)


def expm1(x: Any) -> Any:
    """e^x - 1, by Kahan's correction of the rounding of e^x."""
    wide = x.to(tl.float64)
    e = tl.exp(wide)
    corrected = (e - 1.0) * wide / tl.log(e)
    result = tl.where(e == 1.0, wide, tl.where(tl.abs(wide) > 40.0, e - 1.0, corrected))
    return result.to(x.dtype)


def log1p_single(x: Any) -> Any:
    """log(1 + x), by Kahan's correction of the rounding of 1 + x."""
    u = 1.0 + x
    corrected = tl.log(u) * (x / (u - 1.0))
    return tl.where(u == 1.0, x, tl.where(u == float("inf"), u, corrected))


def log1p(x: Any) -> Any:
    """log(1 + x), as `log1p_single` does it."""
    wide = x.to(tl.float64)
    u = 1.0 + wide
    corrected = tl.log(u) * (wide / (u - 1.0))
    return tl.where(u == 1.0, wide, tl.where(u == float("inf"), u, corrected)).to(x.dtype)


def log10(x: Any) -> Any:
    """The logarithm to base 10."""
    return (tl.log(x.to(tl.float64)) * 0.4342944819032518).to(x.dtype)


def tanh_single(x: Any) -> Any:
    """A minimax polynomial below 0.6, 1 - 2 / (e^2x + 1) above."""
    size = tl.abs(x)
    u = x * x
    p = u * -0.006269119679927826 + 0.021110959351062775
    p = p * u - 0.053873948752880096
    p = p * u + 0.13332915306091309
    p = p * u - 0.3333333134651184
    large = 1.0 - 2.0 / (tl.exp(2.0 * size) + 1.0)
    return copy_sign(tl.where(size < 0.6, size + size * (u * p), large), x)


def tanh(x: Any) -> Any:
    """-m / (2 + m) with m = e^-2|x| - 1."""
    m = expm1(-2.0 * tl.abs(x.to(tl.float64)))
    return copy_sign((-m / (2.0 + m)).to(x.dtype), x)


def sinh(x: Any) -> Any:
    """(m + m / (1 + m)) / 2 with m = e^|x| - 1, halved twice where e^|x| overflows."""
    size = tl.abs(x.to(tl.float64))
    m = expm1(size)
    half = tl.exp(0.5 * size)
    result = tl.where(size > 700.0, (0.5 * half) * half, 0.5 * (m + m / (1.0 + m)))
    return copy_sign(result.to(x.dtype), x)


def cosh(x: Any) -> Any:
    """(e + 1 / e) / 2 with e = e^|x|."""
    size = tl.abs(x.to(tl.float64))
    e = tl.exp(size)
    half = tl.exp(0.5 * size)
    return tl.where(size > 700.0, (0.5 * half) * half, 0.5 * (e + 1.0 / e)).to(x.dtype)


def asinh(x: Any) -> Any:
    """log(1 + u) with u = a + a^2 / (1 + sqrt(a^2 + 1)), a = |x|."""
    a = tl.abs(x.to(tl.float64))
    square = a * a
    near = log1p(a + square / (1.0 + tl.sqrt(square + 1.0)))
    return copy_sign(tl.where(a > 1e150, tl.log(a) + 0.6931471805599453, near).to(x.dtype), x)


def acosh(x: Any) -> Any:
    """log(1 + u) with u = t + sqrt(t (x + 1)), t = x - 1; NaN below 1."""
    wide = x.to(tl.float64)
    above = wide - 1.0
    near = log1p(above + tl.sqrt(above * (wide + 1.0)))
    result = tl.where(wide > 1e150, tl.log(wide) + 0.6931471805599453, near)
    return tl.where(wide < 1.0, float("nan"), result).to(x.dtype)


def atanh(x: Any) -> Any:
    """log(1 + 2a / (1 - a)) / 2, a = |x|; NaN above 1."""
    a = tl.abs(x.to(tl.float64))
    result = tl.where(a == 1.0, float("inf"), 0.5 * log1p(2.0 * a / (1.0 - a)))
    return copy_sign(tl.where(a > 1.0, float("nan"), result).to(x.dtype), x)


def tan(x: Any) -> Any:
    """Sine over cosine."""
    wide = x.to(tl.float64)
    return (tl.sin(wide) / tl.cos(wide)).to(x.dtype)


def arc_tangent(t: Any) -> Any:
    """The arc tangent of f64 t in [0, 1]: pi/4 + atan((t - 1) / (t + 1)) above tan(pi/8), a minimax polynomial below."""
    is_large = t > 0.41421356237309503
    s = tl.where(is_large, (t - 1.0) / (t + 1.0), t)
    u = s * s
    p = u * -0.01917688711906226 + 0.03923165829558719
    p = p * u - 0.0508544973794026
    p = p * u + 0.0585814891280221
    p = p * u - 0.06664511447381948
    p = p * u + 0.07692183190826087
    p = p * u - 0.09090904578123903
    p = p * u + 0.11111111015256361
    p = p * u - 0.14285714284666542
    p = p * u + 0.1999999999999552
    p = p * u - 0.3333333333333333
    low = s + s * (u * p)
    return tl.where(is_large, 0.7853981633974483 + (3.061616997868383e-17 + low), low)


def atan(x: Any) -> Any:
    """The arc tangent."""
    a = tl.abs(x.to(tl.float64))
    is_steep = a > 1.0
    angle = arc_tangent(tl.where(is_steep, 1.0 / a, a))
    angle = tl.where(is_steep, 1.5707963267948966 - (angle - 6.123233995736766e-17), angle)
    return copy_sign(angle.to(x.dtype), x)


def angle_of(y: Any, x: Any) -> Any:
    """The angle of the point (x, y), both f64."""
    a = tl.abs(y)
    b = tl.abs(x)
    is_steep = a > b
    ratio = tl.where(is_steep, b, a) / tl.where(is_steep, a, b)
    ratio = tl.where(a == b, tl.where(a == 0.0, 0.0, 1.0), ratio)
    angle = arc_tangent(ratio)
    angle = tl.where(is_steep, 1.5707963267948966 - (angle - 6.123233995736766e-17), angle)
    is_left = x.to(tl.int64, bitcast=True) < 0
    angle = tl.where(is_left, 3.141592653589793 - (angle - 1.2246467991473532e-16), angle)
    return tl.where((x != x) | (y != y), x + y, copy_sign(angle, y))


def atan2(y: Any, x: Any) -> Any:
    """The angle of the point (x, y)."""
    return angle_of(y.to(tl.float64), x.to(tl.float64)).to(x.dtype)


def asin(x: Any) -> Any:
    """The angle whose sine is x."""
    wide = x.to(tl.float64)
    return angle_of(wide, tl.sqrt((1.0 - wide) * (1.0 + wide))).to(x.dtype)


def acos(x: Any) -> Any:
    """The angle whose cosine is x."""
    wide = x.to(tl.float64)
    return angle_of(tl.sqrt((1.0 - wide) * (1.0 + wide)), wide).to(x.dtype)
