/* Functions that no hot loop calls, lane by lane: hypot, nextafter, integer powers, and the exclusive or of all lanes. */
#ifndef TCOMP_VECTOR_RARE_H
#define TCOMP_VECTOR_RARE_H

#include "vector_arithmetic.h"

TCOMP_RARE float tcomp_hypot_f32(float x, float y) { return __builtin_hypotf(x, y); }
TCOMP_RARE double tcomp_hypot_f64(double x, double y) { return __builtin_hypot(x, y); }
TCOMP_RARE float tcomp_nextafter_f32(float x, float y) { return __builtin_nextafterf(x, y); }
TCOMP_RARE double tcomp_nextafter_f64(double x, double y) { return __builtin_nextafter(x, y); }
TCOMP_LANE_LOOP_2(hypot, f32, float)
TCOMP_LANE_LOOP_2(hypot, f64, double)
TCOMP_LANE_LOOP_2(nextafter, f32, float)
TCOMP_LANE_LOOP_2(nextafter, f64, double)

/* x to the power y by squaring, wrapping; a negative y gives 1 / x^-y rounded to zero, and 0 for x = 0. */
#define TCOMP_INTEGER_POWER(type, element, unsigned_element)              \
  TCOMP_RARE element tcomp_pow_##type(element x, element y) {             \
    if (y < 0) return x == 1 ? 1 : x != -1 ? 0 : y & 1 ? -1 : 1;          \
    unsigned_element base = (unsigned_element)x, result = 1;              \
    for (; y; y >>= 1, base *= base)                                      \
      if (y & 1) result *= base;                                          \
    return (element)result;                                               \
  }                                                                       \
  TCOMP_LANE_LOOP_2(pow, type, element)                                   \
  TCOMP_INLINE element tcomp_reduce_xor_v##type(v##type x) {              \
    element r = x[0];                                                     \
    for (int i = 1; i < TCOMP_LANES; i++) r ^= x[i];                      \
    return r;                                                             \
  }
TCOMP_INTEGER_POWER(i32, int32_t, uint32_t)
TCOMP_INTEGER_POWER(i64, int64_t, uint64_t)
#undef TCOMP_INTEGER_POWER

#endif
