/* Reductions of the lanes of one vector to a scalar: sum, prod, max, min. max and min propagate NaN.
 *
 * Lanes of 32 bits combine as a balanced tree, lane i with lane i + L/2 first; lanes of 64 bits combine from left to right,
 * sums of f64 in halves as well.
 */
#ifndef TCOMP_VECTOR_REDUCE_H
#define TCOMP_VECTOR_REDUCE_H

#include "vector_arithmetic.h"

/* Lane i takes the value of lane i ^ d, for lanes of 32 bits. */
#if TCOMP_GCC
#define TCOMP_SWAP_LANES(x, d) __builtin_shuffle(x, tcomp_iota_vi32() ^ (d))
#elif TCOMP_LANES == 16
#define TCOMP_SWAP_LANES(x, d)                                                                                       \
  __builtin_shufflevector(x, x, 0 ^ (d), 1 ^ (d), 2 ^ (d), 3 ^ (d), 4 ^ (d), 5 ^ (d), 6 ^ (d), 7 ^ (d), 8 ^ (d),     \
                          9 ^ (d), 10 ^ (d), 11 ^ (d), 12 ^ (d), 13 ^ (d), 14 ^ (d), 15 ^ (d))
#elif TCOMP_LANES == 8
#define TCOMP_SWAP_LANES(x, d) \
  __builtin_shufflevector(x, x, 0 ^ (d), 1 ^ (d), 2 ^ (d), 3 ^ (d), 4 ^ (d), 5 ^ (d), 6 ^ (d), 7 ^ (d))
#else
#define TCOMP_SWAP_LANES(x, d) __builtin_shufflevector(x, x, 0 ^ (d), 1 ^ (d), 2 ^ (d), 3 ^ (d))
#endif

/* The distances beyond the vector's length swap nothing and are left out. */
#if TCOMP_LANES == 16
#define TCOMP_TREE(x, combine) \
  x = combine(x, TCOMP_SWAP_LANES(x, 8)), x = combine(x, TCOMP_SWAP_LANES(x, 4)), TCOMP_TREE_OF_4(x, combine)
#elif TCOMP_LANES == 8
#define TCOMP_TREE(x, combine) x = combine(x, TCOMP_SWAP_LANES(x, 4)), TCOMP_TREE_OF_4(x, combine)
#else
#define TCOMP_TREE(x, combine) TCOMP_TREE_OF_4(x, combine)
#endif
#define TCOMP_TREE_OF_4(x, combine) x = combine(x, TCOMP_SWAP_LANES(x, 2)), x = combine(x, TCOMP_SWAP_LANES(x, 1))

#define TCOMP_COMBINE_SUM(a, b) ((a) + (b))
#define TCOMP_COMBINE_PROD(a, b) ((a) * (b))

#define TCOMP_REDUCE(name, type, element, combine)               \
  TCOMP_INLINE element tcomp_reduce_##name##_##type(type x) {    \
    TCOMP_TREE(x, combine);                                      \
    return x[0];                                                 \
  }
TCOMP_REDUCE(sum, vf32, float, TCOMP_COMBINE_SUM)
TCOMP_REDUCE(sum, vi32, int32_t, TCOMP_COMBINE_SUM)
TCOMP_REDUCE(prod, vf32, float, TCOMP_COMBINE_PROD)
TCOMP_REDUCE(prod, vi32, int32_t, TCOMP_COMBINE_PROD)
TCOMP_REDUCE(max, vf32, float, tcomp_max_vf32)
TCOMP_REDUCE(max, vi32, int32_t, tcomp_max_vi32)
TCOMP_REDUCE(min, vf32, float, tcomp_min_vf32)
TCOMP_REDUCE(min, vi32, int32_t, tcomp_min_vi32)
#undef TCOMP_REDUCE

#define TCOMP_REDUCE_WIDE(name, type, element, combine)                         \
  TCOMP_INLINE element tcomp_reduce_##name##_##type(type x) {                   \
    element r = x[0];                                                           \
    for (int i = 1; i < TCOMP_LANES; i++) r = combine(r, x[i]);                 \
    return r;                                                                   \
  }
TCOMP_REDUCE_WIDE(sum, vi64, int64_t, TCOMP_COMBINE_SUM)
TCOMP_REDUCE_WIDE(prod, vf64, double, TCOMP_COMBINE_PROD)
TCOMP_REDUCE_WIDE(prod, vi64, int64_t, TCOMP_COMBINE_PROD)
TCOMP_REDUCE_WIDE(max, vf64, double, tcomp_max_f64)
TCOMP_REDUCE_WIDE(max, vi64, int64_t, tcomp_max_i64)
TCOMP_REDUCE_WIDE(min, vf64, double, tcomp_min_f64)
TCOMP_REDUCE_WIDE(min, vi64, int64_t, tcomp_min_i64)
#undef TCOMP_REDUCE_WIDE

TCOMP_INLINE double tcomp_reduce_sum_vf64(vf64 x) {
  tcomp_halves_f64 h = {.all = x};
  tcomp_half_f64 s = h.half[0] + h.half[1];
  for (int d = TCOMP_LANES / 4; d > 0; d /= 2)
    for (int i = 0; i < d; i++) s[i] += s[i + d];
  return s[0];
}

#endif
