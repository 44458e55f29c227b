/* The functions of f32 lanes in which models spend their time: exp, exp2, log, tanh, erf, sigmoid.
 *
 * Coefficients are minimax fits (Lawson's iteration; each coefficient rounded to f32 in turn and the others refitted). Special
 * values are those of C's libm; the sign of a NaN result is unspecified. The measured errors stand in vector.h.
 */
#ifndef TCOMP_VECTOR_MATH_H
#define TCOMP_VECTOR_MATH_H

#include "vector_arithmetic.h"

/* About 1 / x for finite normal x away from overflow, to be refined: the divider is the slowest unit of a 512-bit machine. */
TCOMP_INLINE vf32 tcomp_inverse_estimate(vf32 x) {
#if TCOMP_AVX512
  return __builtin_ia32_rcp14ps512_mask(x, x, (uint16_t)-1);
#else
  return 1.0f / x;
#endif
}

/* p * 2^n for integral n and p in [1/2, 2]; n in [-160, 160], on AVX-512 any. Rounds once where the result is denormal. */
TCOMP_INLINE vf32 tcomp_scale_by_power(vf32 p, vf32 n) {
#if TCOMP_AVX512
  return __builtin_ia32_scalefps512_mask(p, n, p, (uint16_t)-1, 4);
#else
  vi32 whole = __builtin_convertvector(n, vi32);
  vi32 first = whole >> 1;
  vi32 second = whole - first;
  return p * (vf32)((first + 127) << 23) * (vf32)((second + 127) << 23);
#endif
}

/* The integer nearest to x where |x| < 2^22, and near x beyond: the adder does it in half the time of a rounding instruction. */
TCOMP_INLINE vf32 tcomp_nearby_small(vf32 x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* e^r for |r| <= 0.3477, relative error 3.8e-9 before rounding. */
TCOMP_INLINE vf32 tcomp_exp_reduced(vf32 r) {
  vf32 p = r * 0x1.6b6a6p-10f + 0x1.1230bep-7f;
  p = p * r + 0x1.55568ep-5f;
  p = p * r + 0x1.5554a2p-3f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  return p * r + 1.0f;
}

/* Bounds r where x overflowed or underflowed the reduction, so that scaling alone decides; elsewhere r is in bounds already. */
TCOMP_INLINE vf32 tcomp_bound_reduced(vf32 r) {
#if TCOMP_AVX512
  return __builtin_ia32_rangeps512_mask(r, tcomp_broadcast_vf32(0.5f), 2, r, (uint16_t)-1, 4);
#else
  return r;
#endif
}

/* Keeps scaling in range where it is done by integer arithmetic; NaN stays. */
TCOMP_INLINE vf32 tcomp_bound_exponent(vf32 x, float low, float high) {
#if TCOMP_AVX512
  (void)low, (void)high;
  return x;
#else
  return tcomp_clamp_vf32(x, tcomp_broadcast_vf32(low), tcomp_broadcast_vf32(high));
#endif
}

/* e^x: n = round(x / ln 2), r = x - n ln 2 in two exact steps, 2^n e^r. */
TCOMP_INLINE vf32 tcomp_exp_vf32(vf32 x) {
  x = tcomp_bound_exponent(x, -104.0f, 89.0f);
  vf32 n = tcomp_nearby_small(x * 0x1.715476p+0f);
  vf32 r = x - n * 0x1.62e4p-1f;
  r = tcomp_bound_reduced(r - n * 0x1.7f7d1cp-20f);
  return tcomp_scale_by_power(tcomp_exp_reduced(r), n);
}
TCOMP_SCALAR_1(exp)

/* 2^x. */
TCOMP_INLINE vf32 tcomp_exp2_vf32(vf32 x) {
  x = tcomp_bound_exponent(x, -151.0f, 129.0f);
  vf32 n = tcomp_nearby_small(x);
  vf32 r = tcomp_bound_reduced(x - n);
  return tcomp_scale_by_power(tcomp_exp_reduced(r * 0x1.62e43p-1f), n);
}
TCOMP_SCALAR_1(exp2)

/* 1 / (1 + e^-x) as e / (1 + e) with e = e^x, which keeps its relative accuracy for negative x; it is 1 from x = 17 on. The
 * remainder of the division is taken as (e - q) - q e, so that rounding 1 + e costs nothing. */
TCOMP_INLINE vf32 tcomp_sigmoid_vf32(vf32 x) {
  vf32 e = tcomp_exp_vf32(tcomp_less_or_second(tcomp_broadcast_vf32(20.0f), x));
  vf32 inverse = tcomp_inverse_estimate(1.0f + e);
  vf32 q = e * inverse;
  return ((e - q) - q * e) * inverse + q;
}
TCOMP_SCALAR_1(sigmoid)

/* e^x - 1 for x in [-20, 0] as a + (power - 1) with the n and r of exp: 2^n (e^r - 1) + (2^n - 1). Relative error 1.4e-8 before
 * rounding. */
TCOMP_INLINE vf32 tcomp_expm1_parts(vf32 x, vf32 *power) {
  vf32 shifted = x * 0x1.715476p+0f + 0x1.8p23f;
  vf32 n = shifted - 0x1.8p23f;
  vf32 r = x - n * 0x1.62e4p-1f;
  r = r - n * 0x1.7f7d1cp-20f;
  vf32 q = r * 0x1.6c54ccp-10f + 0x1.122496p-7f;
  q = q * r + 0x1.5555bcp-5f;
  q = q * r + 0x1.5554b6p-3f;
  q = q * r + 0.5f;
  *power = (vf32)(((vi32)shifted << 23) + 0x3f800000);
  return (q * (r * r) + r) * *power;
}
TCOMP_INLINE vf32 tcomp_expm1_negative(vf32 x) {
  vf32 power, a = tcomp_expm1_parts(x, &power);
  return a + (power - 1.0f);
}

/* With y = e^(-2|x|) - 1, -tanh |x| is q = y / (2 + y), divided as in sigmoid; it rounds to -1 where the bound takes effect. Near -1
 * the quotient doubles an error of y, and 1 - tanh^2, the derivative, is all error soon: so what y loses in rounding is kept. */
TCOMP_INLINE vf32 tcomp_tanh_vf32(vf32 x) {
  vf32 twice = (vf32)((vi32)(x + x) | TCOMP_SIGN_BIT);
  vf32 power, a = tcomp_expm1_parts(tcomp_greater_or_second(tcomp_broadcast_vf32(-20.0f), twice), &power);
  vf32 b = power - 1.0f;
  vf32 y = a + b;
  vf32 lost = (a - (y - b)) + (power - (b + 1.0f));
  vf32 inverse = tcomp_inverse_estimate(2.0f + y);
  vf32 q = y * inverse;
  vf32 left = ((y - 2.0f * q) - q * y) + (lost - q * lost);
  return tcomp_copysign_vf32(left * inverse + q, x);
}
TCOMP_SCALAR_1(tanh)

/* erf |x| = 1 - e^-h(|x|) with h(t) = -log erfc t = t + t g(t), g a polynomial weighted by the error it leaves in erf: relative
 * error 4.3e-9 before rounding. erf rounds to 1 beyond the bound. */
TCOMP_INLINE vf32 tcomp_erf_vf32(vf32 x) {
  vf32 t = tcomp_less_or_second(tcomp_broadcast_vf32(3.93f), tcomp_abs_vf32(x));
  vf32 g = t * -0x1.3b0ca6p-17f + 0x1.f292eep-14f;
  g = g * t - 0x1.4e2c08p-11f;
  g = g * t + 0x1.b74628p-10f;
  g = g * t - 0x1.637fap-13f;
  g = g * t - 0x1.39b7c8p-6f;
  g = g * t + 0x1.a4f8c4p-4f;
  g = g * t + 0x1.45f3p-1f;
  g = g * t + 0x1.06eba8p-3f;
  return tcomp_copysign_vf32(tcomp_expm1_negative(-(g * t) - t), x);
}
TCOMP_SCALAR_1(erf)

/* Sets the values of a logarithm at 0, below 0, at infinity and at NaN. */
TCOMP_INLINE vf32 tcomp_log_special(vf32 x, vf32 result) {
  result = tcomp_select_vf32(x < TCOMP_INFINITY, result, x);
  result = tcomp_select_vf32(x == 0, tcomp_broadcast_vf32(-TCOMP_INFINITY), result);
  return tcomp_select_vf32(x < 0, tcomp_broadcast_vf32(TCOMP_NAN), result);
}

/* log x = e ln 2 + log m with m in [3/4, 3/2); log(1 + r) = r - r^2 / 2 + r^3 Q(r), relative error 5e-9 before rounding. */
TCOMP_INLINE vf32 tcomp_log_vf32(vf32 x) {
#if TCOMP_AVX512
  vf32 m = __builtin_ia32_getmantps512_mask(x, 0xb, x, (uint16_t)-1, 4);
  vf32 e = __builtin_ia32_getexpps512_mask(x, x, (uint16_t)-1, 4) -
           __builtin_ia32_getexpps512_mask(m, m, (uint16_t)-1, 4);
#else
  vi32 denormal = x < 0x1p-126f;
  vi32 bits = (vi32)tcomp_select_vf32(denormal, x * 0x1p23f, x);
  vi32 exponent = (bits - 0x3f400000) >> 23;
  vf32 m = (vf32)(bits - (exponent << 23));
  vf32 e = __builtin_convertvector(exponent - (denormal & 23), vf32);
#endif
  vf32 r = m - 1.0f;
  vf32 q = r * -0x1.718ed6p-5f + 0x1.acce26p-4f;
  q = q * r - 0x1.0d989cp-3f;
  q = q * r + 0x1.28841ap-3f;
  q = q * r - 0x1.54ee38p-3f;
  q = q * r + 0x1.996978p-3f;
  q = q * r - 0x1.000046p-2f;
  q = q * r + 0x1.5555a4p-2f;
  q = q * r - 0.5f;
  vf32 y = e * 0x1.62e43p-1f + (q * (r * r) + r);
#if TCOMP_AVX512
  return y;
#else
  return tcomp_log_special(x, y);
#endif
}
TCOMP_SCALAR_1(log)

#endif
