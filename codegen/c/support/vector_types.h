/* Vectors of TCOMP_LANES lanes and the operations on them that the C language does not spell.
 *
 * All vectors of a translation unit have the same number of lanes, whatever their element: as many as an f32 register holds,
 * so that vf64 and vi64 span two registers and vu8 a quarter of one. Arithmetic, bit operations and shifts use C's operators.
 *
 * Masks: the truth of lane i is lane i of a vi32, -1 or 0, whatever was compared. Compare vf32 and vi32 by C's operators or by
 * tcomp_lt_vf32 and friends, 64-bit lanes by tcomp_lt_vf64 and friends only: GCC 12 crashes on comparisons of vectors wider
 * than a register. Little-endian targets only.
 */
#ifndef TCOMP_VECTOR_TYPES_H
#define TCOMP_VECTOR_TYPES_H

#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tcomp's vector headers need a little-endian target"
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define TCOMP_NATIVE_LANES 16
#elif defined(__AVX2__)
#define TCOMP_NATIVE_LANES 8
#else
#define TCOMP_NATIVE_LANES 4
#endif
#ifndef TCOMP_LANES
#define TCOMP_LANES TCOMP_NATIVE_LANES
#endif
#if TCOMP_LANES > TCOMP_NATIVE_LANES || (TCOMP_LANES != 4 && TCOMP_LANES != 8 && TCOMP_LANES != 16)
#error "TCOMP_LANES must be 4, 8 or 16, and a vector of f32 no wider than a register"
#endif

/* Which built-in functions fit vectors of this width; clang spells fewer of them, and needs fewer. */
#if TCOMP_NATIVE_LANES == 16 && TCOMP_LANES == 16
#define TCOMP_AVX512 1
#elif TCOMP_NATIVE_LANES >= 8 && TCOMP_LANES == 8
#define TCOMP_AVX2 1
#elif defined(__SSE2__) && TCOMP_LANES == 4
#define TCOMP_SSE2 1
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define TCOMP_GCC 1
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

#define TCOMP_INLINE static inline __attribute__((always_inline, unused))

#define TCOMP_VECTOR_TYPE(name, element)                                                     \
  typedef element name __attribute__((vector_size(sizeof(element) * TCOMP_LANES)));          \
  typedef element name##_unaligned __attribute__((vector_size(sizeof(element) * TCOMP_LANES), \
                                                  aligned(sizeof(element)), may_alias));
TCOMP_VECTOR_TYPE(vf32, float)
TCOMP_VECTOR_TYPE(vf64, double)
TCOMP_VECTOR_TYPE(vi32, int32_t)
TCOMP_VECTOR_TYPE(vi64, int64_t)
TCOMP_VECTOR_TYPE(vu32, uint32_t)
TCOMP_VECTOR_TYPE(vu64, uint64_t)
TCOMP_VECTOR_TYPE(vi16, int16_t)
TCOMP_VECTOR_TYPE(vu16, uint16_t)
TCOMP_VECTOR_TYPE(vi8, int8_t)
TCOMP_VECTOR_TYPE(vu8, uint8_t)

/* One register of 64-bit lanes, and a vf64 or vi64 seen as two of them. */
typedef double tcomp_half_f64 __attribute__((vector_size(4 * TCOMP_LANES)));
typedef int64_t tcomp_half_i64 __attribute__((vector_size(4 * TCOMP_LANES)));
typedef union { vf64 all; tcomp_half_f64 half[2]; } tcomp_halves_f64;
typedef union { vi64 all; tcomp_half_i64 half[2]; } tcomp_halves_i64;

#define TCOMP_BROADCAST(vector, scalar, element) \
  TCOMP_INLINE vector tcomp_broadcast_##vector(element x) { return x - (vector){0}; }
TCOMP_BROADCAST(vf32, f32, float)
TCOMP_BROADCAST(vi32, i32, int32_t)
#undef TCOMP_BROADCAST
TCOMP_INLINE vf64 tcomp_broadcast_vf64(double x) {
  tcomp_halves_f64 h = {.half = {x - (tcomp_half_f64){0}, x - (tcomp_half_f64){0}}};
  return h.all;
}
TCOMP_INLINE vi64 tcomp_broadcast_vi64(int64_t x) {
  tcomp_halves_i64 h = {.half = {x - (tcomp_half_i64){0}, x - (tcomp_half_i64){0}}};
  return h.all;
}

/* 0, 1, 2, ... */
TCOMP_INLINE vi32 tcomp_iota_vi32(void) {
#if TCOMP_LANES == 16
  return (vi32){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif TCOMP_LANES == 8
  return (vi32){0, 1, 2, 3, 4, 5, 6, 7};
#else
  return (vi32){0, 1, 2, 3};
#endif
}
TCOMP_INLINE vi64 tcomp_iota_vi64(void) { return __builtin_convertvector(tcomp_iota_vi32(), vi64); }

/* True in the first n lanes. */
TCOMP_INLINE vi32 tcomp_first_lanes(int64_t n) { return tcomp_iota_vi32() < (int32_t)n; }

/* mask ? a : b */
TCOMP_INLINE vf32 tcomp_select_vf32(vi32 mask, vf32 a, vf32 b) { return (vf32)((mask & (vi32)a) | (~mask & (vi32)b)); }
TCOMP_INLINE vi32 tcomp_select_vi32(vi32 mask, vi32 a, vi32 b) { return (mask & a) | (~mask & b); }
TCOMP_INLINE vi64 tcomp_select_vi64(vi32 mask, vi64 a, vi64 b) {
  vi64 wide = __builtin_convertvector(mask, vi64);
  return (wide & a) | (~wide & b);
}
TCOMP_INLINE vf64 tcomp_select_vf64(vi32 mask, vf64 a, vf64 b) {
  return (vf64)tcomp_select_vi64(mask, (vi64)a, (vi64)b);
}
TCOMP_INLINE float tcomp_select_f32(int mask, float a, float b) { return mask ? a : b; }
TCOMP_INLINE double tcomp_select_f64(int mask, double a, double b) { return mask ? a : b; }
TCOMP_INLINE int32_t tcomp_select_i32(int mask, int32_t a, int32_t b) { return mask ? a : b; }
TCOMP_INLINE int64_t tcomp_select_i64(int mask, int64_t a, int64_t b) { return mask ? a : b; }

/* Comparisons; false if a lane is NaN, except ne. */
#define TCOMP_COMPARE(name, op)                                                               \
  TCOMP_INLINE vi32 tcomp_##name##_vf32(vf32 a, vf32 b) { return a op b; }                    \
  TCOMP_INLINE vi32 tcomp_##name##_vi32(vi32 a, vi32 b) { return a op b; }                    \
  TCOMP_INLINE vi64 tcomp_wide_##name##_vf64(vf64 a, vf64 b) {                                \
    tcomp_halves_f64 x = {a}, y = {b};                                                        \
    tcomp_halves_i64 r;                                                                       \
    for (int i = 0; i < 2; i++) r.half[i] = x.half[i] op y.half[i];                           \
    return r.all;                                                                             \
  }                                                                                           \
  TCOMP_INLINE vi64 tcomp_wide_##name##_vi64(vi64 a, vi64 b) {                                \
    tcomp_halves_i64 x = {a}, y = {b}, r;                                                     \
    for (int i = 0; i < 2; i++) r.half[i] = x.half[i] op y.half[i];                           \
    return r.all;                                                                             \
  }                                                                                           \
  TCOMP_INLINE vi32 tcomp_##name##_vf64(vf64 a, vf64 b) {                                     \
    return __builtin_convertvector(tcomp_wide_##name##_vf64(a, b), vi32);                     \
  }                                                                                           \
  TCOMP_INLINE vi32 tcomp_##name##_vi64(vi64 a, vi64 b) {                                     \
    return __builtin_convertvector(tcomp_wide_##name##_vi64(a, b), vi32);                     \
  }                                                                                           \
  TCOMP_INLINE int tcomp_##name##_f32(float a, float b) { return a op b; }                    \
  TCOMP_INLINE int tcomp_##name##_f64(double a, double b) { return a op b; }                  \
  TCOMP_INLINE int tcomp_##name##_i32(int32_t a, int32_t b) { return a op b; }                \
  TCOMP_INLINE int tcomp_##name##_i64(int64_t a, int64_t b) { return a op b; }
TCOMP_COMPARE(eq, ==)
TCOMP_COMPARE(ne, !=)
TCOMP_COMPARE(lt, <)
TCOMP_COMPARE(le, <=)
TCOMP_COMPARE(gt, >)
TCOMP_COMPARE(ge, >=)
#undef TCOMP_COMPARE

/* mask ? a : b with a mask of 64-bit lanes, for use inside these headers. */
TCOMP_INLINE vf64 tcomp_wide_select(vi64 mask, vf64 a, vf64 b) { return (vf64)((mask & (vi64)a) | (~mask & (vi64)b)); }

/* tcomp_convert_<to>_<from>: as a C cast; float to integer truncates, and what does not fit is unspecified. */
#define TCOMP_CONVERT(to, from, scalar_to, scalar_from, element_to, element_from)                        \
  TCOMP_INLINE v##to tcomp_convert_v##to##_v##from(v##from x) { return __builtin_convertvector(x, v##to); } \
  TCOMP_INLINE element_to tcomp_convert_##to##_##from(element_from x) { return (element_to)x; }
TCOMP_CONVERT(f32, f64, f32, f64, float, double)
TCOMP_CONVERT(f32, i32, f32, i32, float, int32_t)
TCOMP_CONVERT(f32, i64, f32, i64, float, int64_t)
TCOMP_CONVERT(f64, f32, f64, f32, double, float)
TCOMP_CONVERT(f64, i32, f64, i32, double, int32_t)
TCOMP_CONVERT(f64, i64, f64, i64, double, int64_t)
TCOMP_CONVERT(i32, f32, i32, f32, int32_t, float)
TCOMP_CONVERT(i32, f64, i32, f64, int32_t, double)
TCOMP_CONVERT(i32, i64, i32, i64, int32_t, int64_t)
TCOMP_CONVERT(i64, f32, i64, f32, int64_t, float)
TCOMP_CONVERT(i64, f64, i64, f64, int64_t, double)
TCOMP_CONVERT(i64, i32, i64, i32, int64_t, int32_t)
#undef TCOMP_CONVERT

/* a > b ? a : b and a < b ? a : b, that is b where either is NaN: one instruction on x86. */
TCOMP_INLINE vf32 tcomp_greater_or_second(vf32 a, vf32 b) {
#if TCOMP_GCC && TCOMP_AVX512
  return __builtin_ia32_maxps512_mask(a, b, a, (uint16_t)-1, 4);
#elif TCOMP_GCC && TCOMP_AVX2
  return __builtin_ia32_maxps256(a, b);
#elif TCOMP_GCC && TCOMP_SSE2
  return __builtin_ia32_maxps(a, b);
#else
  return tcomp_select_vf32(a > b, a, b);
#endif
}
TCOMP_INLINE vf32 tcomp_less_or_second(vf32 a, vf32 b) {
#if TCOMP_GCC && TCOMP_AVX512
  return __builtin_ia32_minps512_mask(a, b, a, (uint16_t)-1, 4);
#elif TCOMP_GCC && TCOMP_AVX2
  return __builtin_ia32_minps256(a, b);
#elif TCOMP_GCC && TCOMP_SSE2
  return __builtin_ia32_minps(a, b);
#else
  return tcomp_select_vf32(a < b, a, b);
#endif
}

#if TCOMP_AVX512
/* Bit i is the truth of lane i. */
TCOMP_INLINE uint16_t tcomp_mask_bits(vi32 mask) { return (uint16_t)__builtin_ia32_cvtd2mask512(mask); }
#endif
TCOMP_INLINE int tcomp_any(vi32 mask) {
#if TCOMP_AVX512
  return tcomp_mask_bits(mask) != 0;
#elif TCOMP_AVX2
  return __builtin_ia32_movmskps256((vf32)mask) != 0;
#elif TCOMP_SSE2
  return __builtin_ia32_movmskps((vf32)mask) != 0;
#else
  int32_t r = 0;
  for (int i = 0; i < TCOMP_LANES; i++) r |= mask[i];
  return r != 0;
#endif
}
TCOMP_INLINE int tcomp_all(vi32 mask) { return !tcomp_any(~mask); }

#endif
