/* f32 functions computed on f64 lanes, where cancellation and reduction need no care: all round once, after about 40 good bits.
 *
 * Two to three times the cost of their neighbours in vector_math.h. Coefficients are minimax fits in f64. Special values are
 * those of C's libm.
 */
#ifndef TCOMP_VECTOR_MATH_WIDE_H
#define TCOMP_VECTOR_MATH_WIDE_H

#include "vector_math.h"

#define TCOMP_LN2 0x1.62e42fefa39efp-1
#define TCOMP_HALF_PI 0x1.921fb54442d18p+0

TCOMP_INLINE vf64 tcomp_widen(vf32 x) { return __builtin_convertvector(x, vf64); }
TCOMP_INLINE vf32 tcomp_narrow(vf64 x) { return __builtin_convertvector(x, vf32); }

/* e^r - 1 and 2^n for x = n ln 2 + r, x bounded to [-700, 700]: e^x = power * (1 + reduced). */
typedef struct { vf64 reduced, power; } tcomp_wide_exponential;
TCOMP_INLINE tcomp_wide_exponential tcomp_wide_exp_parts(vf64 x) {
  vf64 high = tcomp_broadcast_vf64(700.0), low = tcomp_broadcast_vf64(-700.0);
  x = tcomp_wide_select(tcomp_wide_gt_vf64(x, high), high, x);
  x = tcomp_wide_select(tcomp_wide_lt_vf64(x, low), low, x);
  vf64 shifted = x * 0x1.71547652b82fep+0 + 0x1.8p52;
  vf64 n = shifted - 0x1.8p52;
  vf64 r = x - n * TCOMP_LN2;
  vf64 q = r * 0x1.27f292cb38e77p-22 + 0x1.72d9fb681a376p-19;
  q = q * r + 0x1.a01a59d5a0653p-16;
  q = q * r + 0x1.a0199c910e90cp-13;
  q = q * r + 0x1.6c16c145811abp-10;
  q = q * r + 0x1.11111120ef3b5p-7;
  q = q * r + 0x1.555555555dcb4p-5;
  q = q * r + 0x1.555555555249ep-3;
  q = q * r + 0.5;
  tcomp_wide_exponential e = {q * (r * r) + r, (vf64)(((vi64)shifted << 52) + 0x3ff0000000000000)};
  return e;
}
TCOMP_INLINE vf64 tcomp_wide_exp(vf64 x) {
  tcomp_wide_exponential e = tcomp_wide_exp_parts(x);
  return e.reduced * e.power + e.power;
}
TCOMP_INLINE vf64 tcomp_wide_expm1(vf64 x) {
  tcomp_wide_exponential e = tcomp_wide_exp_parts(x);
  return e.reduced * e.power + (e.power - 1.0);
}

/* log x for positive finite x, with x - 1 given apart so that it may carry more digits than x: 2 atanh(f / (2 + f)). */
TCOMP_INLINE vf64 tcomp_wide_log(vf64 x, vf64 x_minus_1) {
  const int64_t root_half = 0x3fe6a09e00000000, one = 0x3ff0000000000000;
  vi64 bits = (vi64)x + (one - root_half);
  vi64 biased = (vi64)((vu64)bits >> 52);
  vf64 n = (vf64)(biased | 0x4330000000000000) - (0x1p52 + 1023);
  vf64 m = (vf64)((bits & 0x000fffffffffffff) + root_half);
  vf64 f = tcomp_wide_select(tcomp_wide_eq_vi64(biased, tcomp_broadcast_vi64(1023)), x_minus_1, m - 1.0);
  vf64 s = f / (2.0 + f);
  vf64 u = s * s;
  vf64 q = u * 0x1.58a3f74a6c517p-3 + 0x1.7328999d066fap-3;
  q = q * u + 0x1.c72292cfef729p-3;
  q = q * u + 0x1.2492414a6dfc4p-2;
  q = q * u + 0x1.999999a2d59f1p-2;
  q = q * u + 0x1.555555555386dp-1;
  return n * TCOMP_LN2 + (s * 2.0 + s * (u * q));
}
TCOMP_INLINE vf64 tcomp_wide_log1p(vf64 x) { return tcomp_wide_log(1.0 + x, x); }

/* e^x - 1. */
TCOMP_RARE vf32 tcomp_expm1_vf32(vf32 x) {
  vf32 y = tcomp_narrow(tcomp_wide_expm1(tcomp_widen(x)));
  return tcomp_select_vf32(x == 0, x, y);
}
TCOMP_SCALAR_1(expm1)

/* log(1 + x), and the logarithms to base 2 and 10. */
TCOMP_RARE vf32 tcomp_log1p_vf32(vf32 x) {
  vf32 y = tcomp_narrow(tcomp_wide_log1p(tcomp_widen(x)));
  y = tcomp_select_vf32(x < TCOMP_INFINITY, y, x);
  y = tcomp_select_vf32(x == -1, tcomp_broadcast_vf32(-TCOMP_INFINITY), y);
  y = tcomp_select_vf32(x < -1, tcomp_broadcast_vf32(TCOMP_NAN), y);
  return tcomp_select_vf32(x == 0, x, y);
}
TCOMP_SCALAR_1(log1p)
TCOMP_INLINE vf32 tcomp_log_scaled(vf32 x, double scale) {
  vf64 wide = tcomp_widen(x);
  return tcomp_log_special(x, tcomp_narrow(tcomp_wide_log(wide, wide - 1.0) * scale));
}
TCOMP_RARE vf32 tcomp_log2_vf32(vf32 x) { return tcomp_log_scaled(x, 0x1.71547652b82fep+0); }
TCOMP_SCALAR_1(log2)
TCOMP_RARE vf32 tcomp_log10_vf32(vf32 x) { return tcomp_log_scaled(x, 0x1.bcb7b1526e50ep-2); }
TCOMP_SCALAR_1(log10)

/* Hyperbolic functions from m = e^|x| - 1. */
TCOMP_RARE vf32 tcomp_sinh_vf32(vf32 x) {
  vf64 m = tcomp_wide_expm1(tcomp_widen(tcomp_abs_vf32(x)));
  return tcomp_copysign_vf32(tcomp_narrow(0.5 * (m + m / (1.0 + m))), x);
}
TCOMP_SCALAR_1(sinh)
TCOMP_RARE vf32 tcomp_cosh_vf32(vf32 x) {
  vf64 e = tcomp_wide_exp(tcomp_widen(x));
  return tcomp_narrow(0.5 * (e + 1.0 / e));
}
TCOMP_SCALAR_1(cosh)

/* Their inverses as log(1 + u), u free of cancellation. */
TCOMP_RARE vf32 tcomp_asinh_vf32(vf32 x) {
  vf64 a = tcomp_widen(tcomp_abs_vf32(x));
  vf64 square = a * a;
  vf32 y = tcomp_narrow(tcomp_wide_log1p(a + square / (1.0 + tcomp_sqrt_vf64(square + 1.0))));
  return tcomp_select_vf32(tcomp_abs_vf32(x) < TCOMP_INFINITY, tcomp_copysign_vf32(y, x), x);
}
TCOMP_SCALAR_1(asinh)
TCOMP_RARE vf32 tcomp_acosh_vf32(vf32 x) {
  vf64 wide = tcomp_widen(x);
  vf64 above = wide - 1.0;
  vf32 y = tcomp_narrow(tcomp_wide_log1p(above + tcomp_sqrt_vf64(above * (wide + 1.0))));
  y = tcomp_select_vf32(x < TCOMP_INFINITY, y, x);
  return tcomp_select_vf32(x < 1, tcomp_broadcast_vf32(TCOMP_NAN), y);
}
TCOMP_SCALAR_1(acosh)
TCOMP_RARE vf32 tcomp_atanh_vf32(vf32 x) {
  vf32 magnitude = tcomp_abs_vf32(x);
  vf64 a = tcomp_widen(magnitude);
  vf32 y = tcomp_narrow(0.5 * tcomp_wide_log1p(2.0 * a / (1.0 - a)));
  y = tcomp_select_vf32(magnitude == 1, tcomp_broadcast_vf32(TCOMP_INFINITY), y);
  return tcomp_copysign_vf32(tcomp_select_vf32(magnitude <= 1, y, tcomp_broadcast_vf32(TCOMP_NAN)), x);
}
TCOMP_SCALAR_1(atanh)

/* x = q pi/2 + r with |r| <= pi/4 for |x| < 2^28 (two-part pi/2 as in FreeBSD's rem_pio2f), and the sine and cosine of r. */
typedef struct { vf64 sine, cosine; vi64 quadrant; } tcomp_wide_angle;
TCOMP_INLINE tcomp_wide_angle tcomp_wide_reduce_angle(vf64 x) {
  vf64 shifted = x * 0x1.45f306dc9c883p-1 + 0x1.8p52;
  vf64 n = shifted - 0x1.8p52;
  vf64 r = x - n * 0x1.921fb5p+0;
  r = r - n * 0x1.110b4611a6263p-26;
  vf64 u = r * r;
  vf64 s = u * 0x1.6cd1f4437290fp-19 - 0x1.a00f8315da026p-13;
  s = s * u + 0x1.11110875a8457p-7;
  s = s * u - 0x1.5555554c8d98cp-3;
  vf64 c = u * -0x1.242616f32c0cbp-22 + 0x1.a011096ea2ac7p-16;
  c = c * u - 0x1.6c16b876cdf66p-10;
  c = c * u + 0x1.5555554f2f38ap-5;
  tcomp_wide_angle angle = {r * (s * u + 1.0), (c * u - 0.5) * u + 1.0, (vi64)shifted};
  return angle;
}
TCOMP_INLINE int tcomp_has_large_angle(vf32 x) { return tcomp_any(tcomp_abs_vf32(x) >= 0x1p28f); }

/* Where any angle is 2^28 or more, all lanes go through libm's f64 functions, which reduce exactly. */
TCOMP_RARE vf32 tcomp_sin_vf32(vf32 x) {
  if (tcomp_has_large_angle(x)) {
    for (int i = 0; i < TCOMP_LANES; i++) x[i] = (float)__builtin_sin(x[i]);
    return x;
  }
  tcomp_wide_angle angle = tcomp_wide_reduce_angle(tcomp_widen(x));
  vi64 odd = -(angle.quadrant & 1);
  vf64 y = tcomp_wide_select(odd, angle.cosine, angle.sine);
  return tcomp_narrow((vf64)((vi64)y ^ ((angle.quadrant & 2) << 62)));
}
TCOMP_SCALAR_1(sin)
TCOMP_RARE vf32 tcomp_cos_vf32(vf32 x) {
  if (tcomp_has_large_angle(x)) {
    for (int i = 0; i < TCOMP_LANES; i++) x[i] = (float)__builtin_cos(x[i]);
    return x;
  }
  tcomp_wide_angle angle = tcomp_wide_reduce_angle(tcomp_widen(x));
  vi64 odd = -(angle.quadrant & 1);
  vf64 y = tcomp_wide_select(odd, angle.sine, angle.cosine);
  return tcomp_narrow((vf64)((vi64)y ^ (((angle.quadrant + 1) & 2) << 62)));
}
TCOMP_SCALAR_1(cos)
TCOMP_RARE vf32 tcomp_tan_vf32(vf32 x) {
  if (tcomp_has_large_angle(x)) {
    for (int i = 0; i < TCOMP_LANES; i++) x[i] = (float)__builtin_tan(x[i]);
    return x;
  }
  tcomp_wide_angle angle = tcomp_wide_reduce_angle(tcomp_widen(x));
  vi64 odd = -(angle.quadrant & 1);
  vf64 top = tcomp_wide_select(odd, -angle.cosine, angle.sine);
  return tcomp_narrow(top / tcomp_wide_select(odd, angle.sine, angle.cosine));
}
TCOMP_SCALAR_1(tan)

/* asin of |x| in [0, 1]: a series up to 1/2, and pi/2 - 2 asin(sqrt((1 - x) / 2)) beyond. `low` is the series' value. */
typedef struct { vf64 low; vi64 reflected; } tcomp_wide_arc;
TCOMP_INLINE tcomp_wide_arc tcomp_wide_arc_sine(vf64 a) {
  vi64 reflected = tcomp_wide_gt_vf64(a, tcomp_broadcast_vf64(0.5));
  vf64 u = tcomp_wide_select(reflected, 0.5 - 0.5 * a, a * a);
  vf64 s = tcomp_wide_select(reflected, tcomp_sqrt_vf64(u), a);
  vf64 q = u * 0x1.1c34383e61dc6p-5 + 0x1.e980553cbb81cp-8;
  q = q * u + 0x1.9358d24b4de99p-6;
  q = q * u + 0x1.ed538fb2efb07p-6;
  q = q * u + 0x1.6ddb26b52281ep-5;
  q = q * u + 0x1.3332a8081fdb7p-4;
  q = q * u + 0x1.5555560918dc8p-3;
  tcomp_wide_arc arc = {s * (u * q) + s, reflected};
  return arc;
}
TCOMP_RARE vf32 tcomp_asin_vf32(vf32 x) {
  tcomp_wide_arc arc = tcomp_wide_arc_sine(tcomp_widen(tcomp_abs_vf32(x)));
  return tcomp_copysign_vf32(tcomp_narrow(tcomp_wide_select(arc.reflected, TCOMP_HALF_PI - 2.0 * arc.low, arc.low)), x);
}
TCOMP_SCALAR_1(asin)
TCOMP_RARE vf32 tcomp_acos_vf32(vf32 x) {
  vf64 wide = tcomp_widen(x);
  tcomp_wide_arc arc = tcomp_wide_arc_sine(tcomp_abs_vf64(wide));
  vf64 y = tcomp_wide_select(arc.reflected, 2.0 * arc.low, TCOMP_HALF_PI - arc.low);
  return tcomp_narrow(tcomp_wide_select(tcomp_wide_lt_vf64(wide, (vf64){0}), 2.0 * TCOMP_HALF_PI - y, y));
}
TCOMP_SCALAR_1(acos)

/* atan of t in [0, 1]. */
TCOMP_INLINE vf64 tcomp_wide_arc_tangent(vf64 t) {
  vf64 u = t * t;
  vf64 q = u * 0x1.d702a8b30f31fp-12 - 0x1.baa816a81dc33p-9;
  q = q * u + 0x1.864c38d3b9a6cp-7;
  q = q * u - 0x1.b63403b7c1d22p-6;
  q = q * u + 0x1.6b73d378db00ep-5;
  q = q * u - 0x1.f125556547242p-5;
  q = q * u + 0x1.33d47039dafb8p-4;
  q = q * u - 0x1.72e40facef999p-4;
  q = q * u + 0x1.c6eab9ec38a42p-4;
  q = q * u - 0x1.249057455c969p-3;
  q = q * u + 0x1.999985ea23911p-3;
  q = q * u - 0x1.5555553270554p-2;
  return t * (u * q) + t;
}
TCOMP_RARE vf32 tcomp_atan_vf32(vf32 x) {
  vf64 a = tcomp_widen(tcomp_abs_vf32(x)), one = tcomp_broadcast_vf64(1.0);
  vi64 inverted = tcomp_wide_gt_vf64(a, one);
  vf64 y = tcomp_wide_arc_tangent(tcomp_wide_select(inverted, one, a) / tcomp_wide_select(inverted, a, one));
  return tcomp_copysign_vf32(tcomp_narrow(tcomp_wide_select(inverted, TCOMP_HALF_PI - y, y)), x);
}
TCOMP_SCALAR_1(atan)
TCOMP_RARE vf32 tcomp_atan2_vf32(vf32 y, vf32 x) {
  vf64 a = tcomp_widen(tcomp_abs_vf32(y)), b = tcomp_widen(tcomp_abs_vf32(x));
  vi64 inverted = tcomp_wide_gt_vf64(a, b);
  vf64 ratio = tcomp_wide_select(inverted, b, a) / tcomp_wide_select(inverted, a, b);
  /* 0 / 0 and infinity / infinity stand for 0 and 1. */
  ratio = tcomp_wide_select(tcomp_wide_eq_vf64(a, b), tcomp_sign_vf64(a), ratio);
  vf64 angle = tcomp_wide_arc_tangent(ratio);
  angle = tcomp_wide_select(inverted, TCOMP_HALF_PI - angle, angle);
  angle = tcomp_select_vf64((vi32)x < 0, 2.0 * TCOMP_HALF_PI - angle, angle);
  vf32 r = tcomp_copysign_vf32(tcomp_narrow(angle), y);
  return tcomp_select_vf32((x != x) | (y != y), x + y, r);
}
TCOMP_SCALAR_2(atan2)

/* x^y as e^(y log |x|), with the signs and special values of C's pow. */
TCOMP_RARE vf32 tcomp_pow_vf32(vf32 x, vf32 y) {
  vf32 magnitude = tcomp_abs_vf32(x), size = tcomp_abs_vf32(y);
  vf64 wide = tcomp_widen(magnitude), huge = tcomp_broadcast_vf64(1e300);
  vf64 logarithm = tcomp_wide_log(wide, wide - 1.0);
  logarithm = tcomp_select_vf64(magnitude == 0, -huge, logarithm);
  logarithm = tcomp_select_vf64(magnitude == TCOMP_INFINITY, huge, logarithm);
  logarithm = tcomp_select_vf64(magnitude != magnitude, wide, logarithm);
  vf32 r = tcomp_narrow(tcomp_wide_exp(tcomp_widen(y) * logarithm));
  vi32 even_beyond = size >= 0x1p24f;
  vi32 whole = __builtin_convertvector(tcomp_select_vf32(even_beyond, (vf32){0}, y), vi32);
  vi32 integral = even_beyond | (__builtin_convertvector(whole, vf32) == y);
  vi32 odd = integral & -(whole & 1);
  r = (vf32)((vi32)r ^ (odd & (vi32)x & TCOMP_SIGN_BIT));
  r = tcomp_select_vf32((x < 0) & (x > -TCOMP_INFINITY) & ~integral & (y == y), tcomp_broadcast_vf32(TCOMP_NAN), r);
  vi32 is_one = (x == 1) | (y == 0) | ((x == -1) & (size == TCOMP_INFINITY));
  return tcomp_select_vf32(is_one, tcomp_broadcast_vf32(1.0f), r);
}
TCOMP_SCALAR_2(pow)

#endif
