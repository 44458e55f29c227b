/* Exact and correctly rounded operations on lanes and scalars: sign, order, rounding, square root, division with remainder.
 *
 * Maxima and minima propagate NaN as PyTorch's do; tcomp_fmax and tcomp_fmin ignore it as C's do.
 */
#ifndef TCOMP_VECTOR_ARITHMETIC_H
#define TCOMP_VECTOR_ARITHMETIC_H

#include "vector_types.h"

#define TCOMP_SIGN_BIT ((int32_t)0x80000000)
#define TCOMP_SIGN_BIT_64 ((int64_t)0x8000000000000000)
#define TCOMP_INFINITY __builtin_inff()
#define TCOMP_NAN __builtin_nanf("")

/* Functions that are not worth inlining everywhere; the compiler decides. */
#define TCOMP_RARE static inline __attribute__((unused))

/* The scalar form of an f32 function is lane 0 of its vector form, so that both give the same bits. */
#define TCOMP_SCALAR_1(name) \
  TCOMP_INLINE float tcomp_##name##_f32(float x) { return tcomp_##name##_vf32(tcomp_broadcast_vf32(x))[0]; }
#define TCOMP_SCALAR_2(name)                                                                   \
  TCOMP_INLINE float tcomp_##name##_f32(float x, float y) {                                    \
    return tcomp_##name##_vf32(tcomp_broadcast_vf32(x), tcomp_broadcast_vf32(y))[0];           \
  }
/* The vector form of a function that exists for scalars only: one call a lane. */
#define TCOMP_LANE_LOOP_1(name, type, element)                                                 \
  TCOMP_RARE v##type tcomp_##name##_v##type(v##type x) {                                       \
    v##type r;                                                                                 \
    for (int i = 0; i < TCOMP_LANES; i++) r[i] = tcomp_##name##_##type((element)x[i]);         \
    return r;                                                                                  \
  }
#define TCOMP_LANE_LOOP_2(name, type, element)                                                 \
  TCOMP_RARE v##type tcomp_##name##_v##type(v##type x, v##type y) {                            \
    v##type r;                                                                                 \
    for (int i = 0; i < TCOMP_LANES; i++) r[i] = tcomp_##name##_##type((element)x[i], (element)y[i]); \
    return r;                                                                                  \
  }

/* Absolute value and sign transfer. */
TCOMP_INLINE vf32 tcomp_abs_vf32(vf32 x) { return (vf32)((vi32)x & ~TCOMP_SIGN_BIT); }
TCOMP_INLINE vf64 tcomp_abs_vf64(vf64 x) { return (vf64)((vi64)x & ~TCOMP_SIGN_BIT_64); }
TCOMP_INLINE vi32 tcomp_abs_vi32(vi32 x) { return tcomp_select_vi32(x < 0, (vi32)-(vu32)x, x); }
TCOMP_INLINE vi64 tcomp_abs_vi64(vi64 x) { return tcomp_select_vi64(tcomp_lt_vi64(x, (vi64){0}), (vi64)-(vu64)x, x); }
TCOMP_INLINE float tcomp_abs_f32(float x) { return __builtin_fabsf(x); }
TCOMP_INLINE double tcomp_abs_f64(double x) { return __builtin_fabs(x); }
TCOMP_INLINE int32_t tcomp_abs_i32(int32_t x) { return x < 0 ? (int32_t)-(uint32_t)x : x; }
TCOMP_INLINE int64_t tcomp_abs_i64(int64_t x) { return x < 0 ? (int64_t)-(uint64_t)x : x; }

/* The magnitude of x with the sign of s. */
TCOMP_INLINE vf32 tcomp_copysign_vf32(vf32 x, vf32 s) {
  return (vf32)((((vi32)x ^ (vi32)s) & TCOMP_SIGN_BIT) ^ (vi32)x);
}
TCOMP_INLINE vf64 tcomp_copysign_vf64(vf64 x, vf64 s) {
  return (vf64)(((vi64)x & ~TCOMP_SIGN_BIT_64) | ((vi64)s & TCOMP_SIGN_BIT_64));
}
TCOMP_INLINE float tcomp_copysign_f32(float x, float s) { return __builtin_copysignf(x, s); }
TCOMP_INLINE double tcomp_copysign_f64(double x, double s) { return __builtin_copysign(x, s); }

/* Masks of NaN, infinite and finite lanes. */
TCOMP_INLINE vi32 tcomp_isnan_vf32(vf32 x) { return x != x; }
TCOMP_INLINE vi32 tcomp_isnan_vf64(vf64 x) { return tcomp_ne_vf64(x, x); }
TCOMP_INLINE vi32 tcomp_isinf_vf32(vf32 x) { return tcomp_abs_vf32(x) == TCOMP_INFINITY; }
TCOMP_INLINE vi32 tcomp_isinf_vf64(vf64 x) {
  return tcomp_eq_vf64(tcomp_abs_vf64(x), tcomp_broadcast_vf64(TCOMP_INFINITY));
}
TCOMP_INLINE vi32 tcomp_isfinite_vf32(vf32 x) { return tcomp_abs_vf32(x) < TCOMP_INFINITY; }
TCOMP_INLINE vi32 tcomp_isfinite_vf64(vf64 x) {
  return tcomp_lt_vf64(tcomp_abs_vf64(x), tcomp_broadcast_vf64(TCOMP_INFINITY));
}
TCOMP_INLINE int tcomp_isnan_f32(float x) { return x != x; }
TCOMP_INLINE int tcomp_isnan_f64(double x) { return x != x; }
TCOMP_INLINE int tcomp_isinf_f32(float x) { return __builtin_fabsf(x) == TCOMP_INFINITY; }
TCOMP_INLINE int tcomp_isinf_f64(double x) { return __builtin_fabs(x) == TCOMP_INFINITY; }
TCOMP_INLINE int tcomp_isfinite_f32(float x) { return __builtin_fabsf(x) < TCOMP_INFINITY; }
TCOMP_INLINE int tcomp_isfinite_f64(double x) { return __builtin_fabs(x) < TCOMP_INFINITY; }

/* max and min propagate NaN; fmax and fmin return the other operand. */
#if TCOMP_GCC && TCOMP_AVX512
TCOMP_INLINE vf32 tcomp_max_vf32(vf32 a, vf32 b) {
  uint16_t ordered = __builtin_ia32_cmpps512_mask(a, a, 7, (uint16_t)-1, 4);
  return __builtin_ia32_maxps512_mask(a, b, a, ordered, 4);
}
TCOMP_INLINE vf32 tcomp_min_vf32(vf32 a, vf32 b) {
  uint16_t ordered = __builtin_ia32_cmpps512_mask(a, a, 7, (uint16_t)-1, 4);
  return __builtin_ia32_minps512_mask(a, b, a, ordered, 4);
}
#else
TCOMP_INLINE vf32 tcomp_max_vf32(vf32 a, vf32 b) { return tcomp_select_vf32(a != a, a, tcomp_greater_or_second(a, b)); }
TCOMP_INLINE vf32 tcomp_min_vf32(vf32 a, vf32 b) { return tcomp_select_vf32(a != a, a, tcomp_less_or_second(a, b)); }
#endif
TCOMP_INLINE vf32 tcomp_fmax_vf32(vf32 a, vf32 b) { return tcomp_select_vf32(b != b, a, tcomp_greater_or_second(a, b)); }
TCOMP_INLINE vf32 tcomp_fmin_vf32(vf32 a, vf32 b) { return tcomp_select_vf32(b != b, a, tcomp_less_or_second(a, b)); }

#define TCOMP_MAX_MIN(name, op)                                                                           \
  TCOMP_INLINE vf64 tcomp_##name##_vf64(vf64 a, vf64 b) {                                                 \
    return tcomp_wide_select(tcomp_wide_##op##_vf64(a, b) | tcomp_wide_ne_vf64(a, a), a, b);              \
  }                                                                                                       \
  TCOMP_INLINE vi32 tcomp_##name##_vi32(vi32 a, vi32 b) { return tcomp_select_vi32(tcomp_##op##_vi32(a, b), a, b); } \
  TCOMP_INLINE vi64 tcomp_##name##_vi64(vi64 a, vi64 b) {                                                 \
    vi64 mask = tcomp_wide_##op##_vi64(a, b);                                                             \
    return (mask & a) | (~mask & b);                                                                      \
  }                                                                                                       \
  TCOMP_INLINE float tcomp_##name##_f32(float a, float b) { return a != a || tcomp_##op##_f32(a, b) ? a : b; }     \
  TCOMP_INLINE double tcomp_##name##_f64(double a, double b) { return a != a || tcomp_##op##_f64(a, b) ? a : b; }  \
  TCOMP_INLINE int32_t tcomp_##name##_i32(int32_t a, int32_t b) { return tcomp_##op##_i32(a, b) ? a : b; } \
  TCOMP_INLINE int64_t tcomp_##name##_i64(int64_t a, int64_t b) { return tcomp_##op##_i64(a, b) ? a : b; } \
  TCOMP_INLINE vf64 tcomp_f##name##_vf64(vf64 a, vf64 b) {                                                \
    return tcomp_wide_select(tcomp_wide_##op##_vf64(a, b) | tcomp_wide_ne_vf64(b, b), a, b);              \
  }                                                                                                       \
  TCOMP_INLINE float tcomp_f##name##_f32(float a, float b) { return b != b || tcomp_##op##_f32(a, b) ? a : b; }    \
  TCOMP_INLINE double tcomp_f##name##_f64(double a, double b) { return b != b || tcomp_##op##_f64(a, b) ? a : b; }
TCOMP_MAX_MIN(max, gt)
TCOMP_MAX_MIN(min, lt)
#undef TCOMP_MAX_MIN

/* max(x, 0) with NaN kept: one instruction on x86. */
TCOMP_INLINE vf32 tcomp_relu_vf32(vf32 x) { return tcomp_greater_or_second((vf32){0}, x); }
TCOMP_INLINE vf64 tcomp_relu_vf64(vf64 x) { return tcomp_max_vf64(x, (vf64){0}); }
TCOMP_INLINE vi32 tcomp_relu_vi32(vi32 x) { return tcomp_max_vi32(x, (vi32){0}); }
TCOMP_INLINE vi64 tcomp_relu_vi64(vi64 x) { return tcomp_max_vi64(x, (vi64){0}); }
TCOMP_INLINE float tcomp_relu_f32(float x) { return 0.0f > x ? 0.0f : x; }
TCOMP_INLINE double tcomp_relu_f64(double x) { return tcomp_max_f64(x, 0.0); }
TCOMP_INLINE int32_t tcomp_relu_i32(int32_t x) { return x > 0 ? x : 0; }
TCOMP_INLINE int64_t tcomp_relu_i64(int64_t x) { return x > 0 ? x : 0; }

/* min(max(x, low), high) for bounds that are not NaN; NaN in x is kept. */
TCOMP_INLINE vf32 tcomp_clamp_vf32(vf32 x, vf32 low, vf32 high) {
  return tcomp_less_or_second(high, tcomp_greater_or_second(low, x));
}
TCOMP_INLINE vf64 tcomp_clamp_vf64(vf64 x, vf64 low, vf64 high) { return tcomp_min_vf64(tcomp_max_vf64(x, low), high); }
TCOMP_INLINE vi32 tcomp_clamp_vi32(vi32 x, vi32 low, vi32 high) { return tcomp_min_vi32(tcomp_max_vi32(x, low), high); }
TCOMP_INLINE vi64 tcomp_clamp_vi64(vi64 x, vi64 low, vi64 high) { return tcomp_min_vi64(tcomp_max_vi64(x, low), high); }
TCOMP_INLINE float tcomp_clamp_f32(float x, float low, float high) {
  x = low > x ? low : x;
  return high < x ? high : x;
}
TCOMP_INLINE double tcomp_clamp_f64(double x, double low, double high) { return tcomp_min_f64(tcomp_max_f64(x, low), high); }
TCOMP_INLINE int32_t tcomp_clamp_i32(int32_t x, int32_t low, int32_t high) {
  return tcomp_min_i32(tcomp_max_i32(x, low), high);
}
TCOMP_INLINE int64_t tcomp_clamp_i64(int64_t x, int64_t low, int64_t high) {
  return tcomp_min_i64(tcomp_max_i64(x, low), high);
}

/* -1, 0 or 1; 0 for NaN, as in PyTorch. */
TCOMP_INLINE vf32 tcomp_sign_vf32(vf32 x) { return __builtin_convertvector((x < 0) - (x > 0), vf32); }
TCOMP_INLINE vf64 tcomp_sign_vf64(vf64 x) {
  return __builtin_convertvector(tcomp_lt_vf64(x, (vf64){0}) - tcomp_gt_vf64(x, (vf64){0}), vf64);
}
TCOMP_INLINE vi32 tcomp_sign_vi32(vi32 x) { return (x < 0) - (x > 0); }
TCOMP_INLINE vi64 tcomp_sign_vi64(vi64 x) { return tcomp_wide_lt_vi64(x, (vi64){0}) - tcomp_wide_gt_vi64(x, (vi64){0}); }
TCOMP_INLINE float tcomp_sign_f32(float x) { return (float)((x > 0) - (x < 0)); }
TCOMP_INLINE double tcomp_sign_f64(double x) { return (x > 0) - (x < 0); }
TCOMP_INLINE int32_t tcomp_sign_i32(int32_t x) { return (x > 0) - (x < 0); }
TCOMP_INLINE int64_t tcomp_sign_i64(int64_t x) { return (x > 0) - (x < 0); }

/* floor, ceil, trunc, and round to nearest even (torch.round). `mode` is the immediate of x86's rounding instructions. */
#if TCOMP_AVX512
#define TCOMP_ROUND_F32(x, mode) __builtin_ia32_rndscaleps_mask(x, mode, x, (uint16_t)-1, 4)
#define TCOMP_ROUND_HALF_F64(x, mode) __builtin_ia32_rndscalepd_mask(x, mode, x, (uint8_t)-1, 4)
#elif TCOMP_AVX2
#define TCOMP_ROUND_F32(x, mode) __builtin_ia32_roundps256(x, mode)
#define TCOMP_ROUND_HALF_F64(x, mode) __builtin_ia32_roundpd256(x, mode)
#elif TCOMP_SSE2 && defined(__SSE4_1__)
#define TCOMP_ROUND_F32(x, mode) __builtin_ia32_roundps(x, mode)
#define TCOMP_ROUND_HALF_F64(x, mode) __builtin_ia32_roundpd(x, mode)
#endif
#define TCOMP_ROUNDING_F64(name, mode, portable_f64)                             \
  TCOMP_INLINE double tcomp_##name##_f64(double x) { return portable_f64(x); }   \
  TCOMP_INLINE vf64 tcomp_##name##_vf64(vf64 x) {                                \
    tcomp_halves_f64 h = {x};                                                    \
    for (int i = 0; i < 2; i++) h.half[i] = TCOMP_ROUND_HALF_F64(h.half[i], mode); \
    return h.all;                                                                \
  }
#ifdef TCOMP_ROUND_F32
#define TCOMP_ROUNDING(name, mode, portable_f32, portable_f64)                              \
  TCOMP_INLINE vf32 tcomp_##name##_vf32(vf32 x) { return TCOMP_ROUND_F32(x, mode); }        \
  TCOMP_INLINE float tcomp_##name##_f32(float x) { return portable_f32(x); }                \
  TCOMP_ROUNDING_F64(name, mode, portable_f64)
#else
#define TCOMP_ROUNDING(name, mode, portable_f32, portable_f64)                              \
  TCOMP_INLINE float tcomp_##name##_f32(float x) { return portable_f32(x); }                \
  TCOMP_INLINE double tcomp_##name##_f64(double x) { return portable_f64(x); }              \
  TCOMP_LANE_LOOP_1(name, f32, float)                                                       \
  TCOMP_LANE_LOOP_1(name, f64, double)
#endif
TCOMP_ROUNDING(round, 8, __builtin_rintf, __builtin_rint)
TCOMP_ROUNDING(floor, 9, __builtin_floorf, __builtin_floor)
TCOMP_ROUNDING(ceil, 10, __builtin_ceilf, __builtin_ceil)
TCOMP_ROUNDING(trunc, 11, __builtin_truncf, __builtin_trunc)
#undef TCOMP_ROUNDING
#undef TCOMP_ROUNDING_F64

/* Square root, correctly rounded. */
TCOMP_INLINE vf32 tcomp_sqrt_vf32(vf32 x) {
#if TCOMP_GCC && TCOMP_AVX512
  return __builtin_ia32_sqrtps512_mask(x, x, (uint16_t)-1, 4);
#elif TCOMP_GCC && TCOMP_AVX2
  return __builtin_ia32_sqrtps256(x);
#elif TCOMP_GCC && TCOMP_SSE2
  return __builtin_ia32_sqrtps(x);
#elif defined(__clang__) && __has_builtin(__builtin_elementwise_sqrt)
  return __builtin_elementwise_sqrt(x);
#else
  for (int i = 0; i < TCOMP_LANES; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}
TCOMP_INLINE vf64 tcomp_sqrt_vf64(vf64 x) {
#if TCOMP_GCC && (TCOMP_AVX512 || TCOMP_AVX2 || TCOMP_SSE2)
  tcomp_halves_f64 h = {x};
  for (int i = 0; i < 2; i++) {
#if TCOMP_AVX512
    h.half[i] = __builtin_ia32_sqrtpd512_mask(h.half[i], h.half[i], (uint8_t)-1, 4);
#elif TCOMP_AVX2
    h.half[i] = __builtin_ia32_sqrtpd256(h.half[i]);
#else
    h.half[i] = __builtin_ia32_sqrtpd(h.half[i]);
#endif
  }
  return h.all;
#elif defined(__clang__) && __has_builtin(__builtin_elementwise_sqrt)
  return __builtin_elementwise_sqrt(x);
#else
  for (int i = 0; i < TCOMP_LANES; i++) x[i] = __builtin_sqrt(x[i]);
  return x;
#endif
}
TCOMP_INLINE double tcomp_sqrt_f64(double x) { return __builtin_sqrt(x); }
TCOMP_SCALAR_1(sqrt)

/* 1 / sqrt(x) and 1 / x. */
TCOMP_INLINE vf32 tcomp_rsqrt_vf32(vf32 x) { return 1.0f / tcomp_sqrt_vf32(x); }
TCOMP_INLINE vf64 tcomp_rsqrt_vf64(vf64 x) { return 1.0 / tcomp_sqrt_vf64(x); }
TCOMP_INLINE double tcomp_rsqrt_f64(double x) { return 1.0 / __builtin_sqrt(x); }
TCOMP_SCALAR_1(rsqrt)
TCOMP_INLINE vf32 tcomp_reciprocal_vf32(vf32 x) { return 1.0f / x; }
TCOMP_INLINE vf64 tcomp_reciprocal_vf64(vf64 x) { return 1.0 / x; }
TCOMP_INLINE float tcomp_reciprocal_f32(float x) { return 1.0f / x; }
TCOMP_INLINE double tcomp_reciprocal_f64(double x) { return 1.0 / x; }

/* fmod: what truncated division leaves, exact, with the sign of a. Large quotients, infinities and NaN go through libm. */
TCOMP_RARE vf32 tcomp_fmod_vf32(vf32 a, vf32 b) {
  vf64 x = __builtin_convertvector(a, vf64), y = __builtin_convertvector(b, vf64);
  vf64 quotient = x / y;
  if (!tcomp_all(tcomp_lt_vf64(tcomp_abs_vf64(quotient), tcomp_broadcast_vf64(0x1p29)) & tcomp_isfinite_vf32(b))) {
    for (int i = 0; i < TCOMP_LANES; i++) a[i] = __builtin_fmodf(a[i], b[i]);
    return a;
  }
  vf64 r = x - __builtin_convertvector(__builtin_convertvector(quotient, vi32), vf64) * y;
  /* The quotient may have been rounded up to an integer: then r has the wrong sign. */
  vi32 wrong = tcomp_lt_vf64(r * x, (vf64){0});
  r = tcomp_select_vf64(wrong, r + tcomp_copysign_vf64(y, x), r);
  return tcomp_copysign_vf32(__builtin_convertvector(r, vf32), a);
}
TCOMP_SCALAR_2(fmod)
/* remainder: fmod moved to the sign of b, as Python's % and torch.remainder. */
TCOMP_RARE vf32 tcomp_remainder_vf32(vf32 a, vf32 b) {
  vf32 r = tcomp_fmod_vf32(a, b);
  return tcomp_select_vf32((r != 0) & ((r < 0) ^ (b < 0)), r + b, r);
}
TCOMP_SCALAR_2(remainder)
TCOMP_RARE double tcomp_fmod_f64(double a, double b) { return __builtin_fmod(a, b); }
TCOMP_RARE double tcomp_remainder_f64(double a, double b) {
  double r = __builtin_fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
TCOMP_LANE_LOOP_2(fmod, f64, double)
TCOMP_LANE_LOOP_2(remainder, f64, double)

/* Integer division: trunc_divide and fmod round to zero, floor_divide and remainder down. Division by zero gives 0 and never
 * traps, the smallest integer divided by -1 wraps. */
#define TCOMP_INTEGER_DIVISION(type, element, unsigned_element)                                            \
  TCOMP_INLINE element tcomp_trunc_divide_##type(element a, element b) {                                   \
    return b == 0 ? 0 : b == -1 ? (element)-(unsigned_element)a : a / b;                                   \
  }                                                                                                        \
  TCOMP_INLINE element tcomp_fmod_##type(element a, element b) { return b == 0 || b == -1 ? 0 : a % b; }   \
  TCOMP_INLINE element tcomp_remainder_##type(element a, element b) {                                      \
    element r = tcomp_fmod_##type(a, b);                                                                   \
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;                                                       \
  }                                                                                                        \
  TCOMP_INLINE element tcomp_floor_divide_##type(element a, element b) {                                   \
    element r = tcomp_fmod_##type(a, b);                                                                   \
    return tcomp_trunc_divide_##type(a, b) - (r != 0 && (r < 0) != (b < 0));                               \
  }                                                                                                        \
  TCOMP_LANE_LOOP_2(trunc_divide, type, element)                                                           \
  TCOMP_LANE_LOOP_2(floor_divide, type, element)                                                           \
  TCOMP_LANE_LOOP_2(fmod, type, element)                                                                   \
  TCOMP_LANE_LOOP_2(remainder, type, element)
TCOMP_INTEGER_DIVISION(i32, int32_t, uint32_t)
TCOMP_INTEGER_DIVISION(i64, int64_t, uint64_t)
#undef TCOMP_INTEGER_DIVISION

#endif
