/* Loads and stores of pairs, as complex numbers lie in memory: a0 b0 a1 b1 ... in memory, all a and all b in vectors of their own.
 *
 * tcomp_load_first_<vector>(p) is a0 a1 ..., tcomp_load_second_<vector>(p) is b0 b1 ..., for p at a0: both read the same two
 * vectors, which the compiler loads once where it sees both. tcomp_store_both_<vector>(p, a, b) writes as many pairs as there are lanes.
 * tcomp_gather_first_<vector>_<index>(p, at) and _second_ are the parts of pairs that start at p + at[i], each read in one piece.
 * With _part_ and n as their last argument they touch no memory beyond n pairs, 0 <= n; lanes beyond are 0.
 */
#ifndef TCOMP_VECTOR_PAIRS_H
#define TCOMP_VECTOR_PAIRS_H

#include "vector_memory.h"

/* Which elements of two registers x and y, counted through, a register is made of: the even and odd ones, and of the first and
 * the second halves of both, in turns, each. */
#define TCOMP_EVEN_16 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define TCOMP_ODD_16 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define TCOMP_LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define TCOMP_HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define TCOMP_EVEN_8 0, 2, 4, 6, 8, 10, 12, 14
#define TCOMP_ODD_8 1, 3, 5, 7, 9, 11, 13, 15
#define TCOMP_LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define TCOMP_HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define TCOMP_EVEN_4 0, 2, 4, 6
#define TCOMP_ODD_4 1, 3, 5, 7
#define TCOMP_LOW_4 0, 4, 1, 5
#define TCOMP_HIGH_4 2, 6, 3, 7
#define TCOMP_EVEN_2 0, 2
#define TCOMP_ODD_2 1, 3
#define TCOMP_LOW_2 0, 2
#define TCOMP_HIGH_2 1, 3

#if TCOMP_GCC
#define TCOMP_MIX(x, y, mask, ...) __builtin_shuffle(x, y, (mask){__VA_ARGS__})
#else
#define TCOMP_MIX(x, y, mask, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#endif
#if TCOMP_LANES == 16
#define TCOMP_MIX_32(which, x, y) TCOMP_MIX(x, y, vi32, TCOMP_##which##_16)
#define TCOMP_MIX_64(which, x, y) TCOMP_MIX(x, y, tcomp_half_i64, TCOMP_##which##_8)
#elif TCOMP_LANES == 8
#define TCOMP_MIX_32(which, x, y) TCOMP_MIX(x, y, vi32, TCOMP_##which##_8)
#define TCOMP_MIX_64(which, x, y) TCOMP_MIX(x, y, tcomp_half_i64, TCOMP_##which##_4)
#else
#define TCOMP_MIX_32(which, x, y) TCOMP_MIX(x, y, vi32, TCOMP_##which##_4)
#define TCOMP_MIX_64(which, x, y) TCOMP_MIX(x, y, tcomp_half_i64, TCOMP_##which##_2)
#endif

TCOMP_INLINE vf32 tcomp_even_vf32(vf32 x, vf32 y) { return TCOMP_MIX_32(EVEN, x, y); }
TCOMP_INLINE vf32 tcomp_odd_vf32(vf32 x, vf32 y) { return TCOMP_MIX_32(ODD, x, y); }
TCOMP_INLINE vf32 tcomp_low_vf32(vf32 x, vf32 y) { return TCOMP_MIX_32(LOW, x, y); }
TCOMP_INLINE vf32 tcomp_high_vf32(vf32 x, vf32 y) { return TCOMP_MIX_32(HIGH, x, y); }

/* Vectors of 64-bit lanes are two registers, a and b for short. */
#define TCOMP_MIX_HALVES(name, first, xa, ya, second, xb, yb)                                                      \
  TCOMP_INLINE vf64 tcomp_##name##_vf64(vf64 x, vf64 y) {                                                          \
    tcomp_halves_f64 of_x = {.all = x}, of_y = {.all = y};                                                         \
    tcomp_halves_f64 r = {.half = {TCOMP_MIX_64(first, xa, ya), TCOMP_MIX_64(second, xb, yb)}};                    \
    return r.all;                                                                                                  \
  }
TCOMP_MIX_HALVES(even, EVEN, of_x.half[0], of_x.half[1], EVEN, of_y.half[0], of_y.half[1])
TCOMP_MIX_HALVES(odd, ODD, of_x.half[0], of_x.half[1], ODD, of_y.half[0], of_y.half[1])
TCOMP_MIX_HALVES(low, LOW, of_x.half[0], of_y.half[0], HIGH, of_x.half[0], of_y.half[0])
TCOMP_MIX_HALVES(high, LOW, of_x.half[1], of_y.half[1], HIGH, of_x.half[1], of_y.half[1])
#undef TCOMP_MIX_HALVES

/* How many elements of the second vector n pairs reach. */
TCOMP_INLINE int64_t tcomp_rest_of_pairs(int64_t n) { return 2 * n > TCOMP_LANES ? 2 * n - TCOMP_LANES : 0; }

#define TCOMP_PAIRS(vector, element)                                                                                   \
  TCOMP_INLINE vector tcomp_load_first_##vector(const element *p) {                                                    \
    return tcomp_even_##vector(tcomp_load_##vector(p), tcomp_load_##vector(p + TCOMP_LANES));                          \
  }                                                                                                                    \
  TCOMP_INLINE vector tcomp_load_second_##vector(const element *p) {                                                   \
    return tcomp_odd_##vector(tcomp_load_##vector(p), tcomp_load_##vector(p + TCOMP_LANES));                           \
  }                                                                                                                    \
  TCOMP_INLINE void tcomp_store_both_##vector(element *p, vector a, vector b) {                                        \
    tcomp_store_##vector(p, tcomp_low_##vector(a, b));                                                                 \
    tcomp_store_##vector(p + TCOMP_LANES, tcomp_high_##vector(a, b));                                                  \
  }                                                                                                                    \
  TCOMP_INLINE vector tcomp_load_part_first_##vector(const element *p, int64_t n) {                                    \
    return tcomp_even_##vector(tcomp_load_part_##vector(p, 2 * n),                                                     \
                               tcomp_load_part_##vector(p + TCOMP_LANES, tcomp_rest_of_pairs(n)));                     \
  }                                                                                                                    \
  TCOMP_INLINE vector tcomp_load_part_second_##vector(const element *p, int64_t n) {                                   \
    return tcomp_odd_##vector(tcomp_load_part_##vector(p, 2 * n),                                                      \
                              tcomp_load_part_##vector(p + TCOMP_LANES, tcomp_rest_of_pairs(n)));                      \
  }                                                                                                                    \
  TCOMP_INLINE void tcomp_store_part_both_##vector(element *p, vector a, vector b, int64_t n) {                        \
    tcomp_store_part_##vector(p, tcomp_low_##vector(a, b), 2 * n);                                                     \
    tcomp_store_part_##vector(p + TCOMP_LANES, tcomp_high_##vector(a, b), tcomp_rest_of_pairs(n));                     \
  }
TCOMP_PAIRS(vf32, float)
TCOMP_PAIRS(vf64, double)
#undef TCOMP_PAIRS

/* Pairs of f32 read as 64 bits: half as many loads as elements, where a gather takes one for each. */
typedef int64_t tcomp_pair_f32 __attribute__((aligned(4), may_alias));
#define TCOMP_PAIR_AT(k) (*(const tcomp_pair_f32 *)(p + at[k]))
#if TCOMP_LANES == 16
#define TCOMP_HALF_AT(k)                                                                                              \
  (tcomp_half_i64){TCOMP_PAIR_AT(k),     TCOMP_PAIR_AT(k + 1), TCOMP_PAIR_AT(k + 2), TCOMP_PAIR_AT(k + 3),            \
                   TCOMP_PAIR_AT(k + 4), TCOMP_PAIR_AT(k + 5), TCOMP_PAIR_AT(k + 6), TCOMP_PAIR_AT(k + 7)}
#elif TCOMP_LANES == 8
#define TCOMP_HALF_AT(k) (tcomp_half_i64){TCOMP_PAIR_AT(k), TCOMP_PAIR_AT(k + 1), TCOMP_PAIR_AT(k + 2), TCOMP_PAIR_AT(k + 3)}
#else
#define TCOMP_HALF_AT(k) (tcomp_half_i64){TCOMP_PAIR_AT(k), TCOMP_PAIR_AT(k + 1)}
#endif
#define TCOMP_GATHER_PAIRS(index)                                                                                      \
  TCOMP_INLINE vf32 tcomp_gather_first_vf32_##index(const float *p, v##index at) {                                     \
    return tcomp_even_vf32((vf32)TCOMP_HALF_AT(0), (vf32)TCOMP_HALF_AT(TCOMP_LANES / 2));                              \
  }                                                                                                                    \
  TCOMP_INLINE vf32 tcomp_gather_second_vf32_##index(const float *p, v##index at) {                                    \
    return tcomp_odd_vf32((vf32)TCOMP_HALF_AT(0), (vf32)TCOMP_HALF_AT(TCOMP_LANES / 2));                               \
  }                                                                                                                    \
  TCOMP_INLINE vi32 tcomp_gather_first_vi32_##index(const int32_t *p, v##index at) {                                   \
    return (vi32)tcomp_gather_first_vf32_##index((const float *)p, at);                                                \
  }                                                                                                                    \
  TCOMP_INLINE vi32 tcomp_gather_second_vi32_##index(const int32_t *p, v##index at) {                                  \
    return (vi32)tcomp_gather_second_vf32_##index((const float *)p, at);                                               \
  }
TCOMP_GATHER_PAIRS(i32)
TCOMP_GATHER_PAIRS(i64)
#undef TCOMP_GATHER_PAIRS

#define TCOMP_PAIRS_OF_BITS(vector, element, other, other_element)                                                     \
  TCOMP_INLINE vector tcomp_load_first_##vector(const element *p) {                                                    \
    return (vector)tcomp_load_first_##other((const other_element *)p);                                                 \
  }                                                                                                                    \
  TCOMP_INLINE vector tcomp_load_second_##vector(const element *p) {                                                   \
    return (vector)tcomp_load_second_##other((const other_element *)p);                                                \
  }                                                                                                                    \
  TCOMP_INLINE void tcomp_store_both_##vector(element *p, vector a, vector b) {                                        \
    tcomp_store_both_##other((other_element *)p, (other)a, (other)b);                                                  \
  }                                                                                                                    \
  TCOMP_INLINE vector tcomp_load_part_first_##vector(const element *p, int64_t n) {                                    \
    return (vector)tcomp_load_part_first_##other((const other_element *)p, n);                                         \
  }                                                                                                                    \
  TCOMP_INLINE vector tcomp_load_part_second_##vector(const element *p, int64_t n) {                                   \
    return (vector)tcomp_load_part_second_##other((const other_element *)p, n);                                        \
  }                                                                                                                    \
  TCOMP_INLINE void tcomp_store_part_both_##vector(element *p, vector a, vector b, int64_t n) {                        \
    tcomp_store_part_both_##other((other_element *)p, (other)a, (other)b, n);                                          \
  }
TCOMP_PAIRS_OF_BITS(vi32, int32_t, vf32, float)
TCOMP_PAIRS_OF_BITS(vi64, int64_t, vf64, double)
#undef TCOMP_PAIRS_OF_BITS

#endif
