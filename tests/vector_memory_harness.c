/* Exposes what codegen/support has besides mathematical functions to tests/codegen/c/test_vector_memory.py.
 *
 * Every function maps arrays of `count` elements; the last vector is a part.
 */
#include "vector.h"

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

int lanes(void) { return TCOMP_LANES; }

#define COPY(name, vector, element)                                                                              \
  void copy_##name(const element *from, element *to, int64_t count) {                                            \
    for (int64_t i = 0; i < count; i += TCOMP_LANES) {                                                           \
      int64_t n = least(count - i, TCOMP_LANES);                                                                 \
      if (n == TCOMP_LANES) tcomp_store_##name(to + i, tcomp_load_##name(from + i));                             \
      else tcomp_store_part_##name(to + i, tcomp_load_part_##name(from + i, n), n);                              \
    }                                                                                                            \
  }                                                                                                              \
  void part_##name(const element *from, vector##_unaligned *to, int64_t n) { *to = tcomp_load_part_##name(from, n); }
COPY(vf32, vf32, float)
COPY(vf64, vf64, double)
COPY(vi32, vi32, int32_t)
COPY(vi64, vi64, int64_t)
COPY(vu16, vu16, uint16_t)
COPY(vi16, vi16, int16_t)
COPY(vu8, vu8, uint8_t)
COPY(vi8, vi8, int8_t)
COPY(vf32_bf16, vf32, uint16_t)
COPY(vf32_f16, vf32, uint16_t)
COPY(vf32_f64, vf32, double)
COPY(vi32_u8, vi32, uint8_t)
COPY(vi32_i8, vi32, int8_t)
COPY(vi32_i16, vi32, int16_t)
COPY(vi32_u16, vi32, uint16_t)
COPY(vi32_i64, vi32, int64_t)
COPY(vi32_bool, vi32, uint8_t)

/* Pairs taken apart and put together again, in the other order. */
#define SWAP_PAIRS(vector, element)                                                                              \
  void swap_pairs_##vector(const element *from, element *to, int64_t count) {                                    \
    for (int64_t i = 0; i < count; i += TCOMP_LANES) {                                                           \
      const element *p = from + 2 * i;                                                                           \
      int64_t n = least(count - i, TCOMP_LANES);                                                                 \
      if (n == TCOMP_LANES)                                                                                      \
        tcomp_store_both_##vector(to + 2 * i, tcomp_load_second_##vector(p), tcomp_load_first_##vector(p));      \
      else                                                                                                       \
        tcomp_store_part_both_##vector(to + 2 * i, tcomp_load_part_second_##vector(p, n),                        \
                                       tcomp_load_part_first_##vector(p, n), n);                                 \
    }                                                                                                            \
  }                                                                                                              \
  void part_of_pairs_##vector(const element *from, vector##_unaligned *to, int64_t n) {                          \
    to[0] = tcomp_load_part_first_##vector(from, n);                                                             \
    to[1] = tcomp_load_part_second_##vector(from, n);                                                            \
  }
SWAP_PAIRS(vf32, float)
SWAP_PAIRS(vf64, double)
SWAP_PAIRS(vi32, int32_t)
SWAP_PAIRS(vi64, int64_t)

#define DECODE(name, scalar_name, vector, element, value)                                                \
  void decode_##name(const element *from, value *to, value *scalars, int64_t count) {                    \
    for (int64_t i = 0; i < count; i++) scalars[i] = tcomp_load_##scalar_name(from + i);                 \
    for (int64_t i = 0; i < count; i += TCOMP_LANES) tcomp_store_##vector(to + i, tcomp_load_##name(from + i)); \
  }                                                                                                      \
  void encode_##name(const value *from, element *to, element *scalars, int64_t count) {                  \
    for (int64_t i = 0; i < count; i++) tcomp_store_##scalar_name(scalars + i, from[i]);                 \
    for (int64_t i = 0; i < count; i += TCOMP_LANES) tcomp_store_##name(to + i, tcomp_load_##vector(from + i)); \
  }
DECODE(vf32_bf16, f32_bf16, vf32, uint16_t, float)
DECODE(vf32_f16, f32_f16, vf32, uint16_t, float)

#define WIDEN(name, element)                                                                          \
  void widen_##name(const element *from, int32_t *to, int64_t count) {                                \
    for (int64_t i = 0; i < count; i += TCOMP_LANES) tcomp_store_vi32(to + i, tcomp_load_##name(from + i)); \
  }
WIDEN(vi32_u8, uint8_t)
WIDEN(vi32_i8, int8_t)
WIDEN(vi32_i16, int16_t)
WIDEN(vi32_u16, uint16_t)
WIDEN(vi32_bool, uint8_t)

#define REDUCE(type, element)                                                                          \
  void reduce_##type(const element *p, element *to) {                                                  \
    to[0] = tcomp_reduce_sum_##type(tcomp_load_##type(p));                                             \
    to[1] = tcomp_reduce_prod_##type(tcomp_load_##type(p));                                            \
    to[2] = tcomp_reduce_max_##type(tcomp_load_##type(p));                                             \
    to[3] = tcomp_reduce_min_##type(tcomp_load_##type(p));                                             \
  }
REDUCE(vf32, float)
REDUCE(vf64, double)
REDUCE(vi32, int32_t)
REDUCE(vi64, int64_t)

/* A binary function by lanes and by scalars. */
#define BINARY(name, type, element)                                                                                   \
  void name##_##type(const element *a, const element *b, element *to, element *scalars, int64_t count) {              \
    for (int64_t i = 0; i < count; i++) scalars[i] = tcomp_##name##_##type(a[i], b[i]);                               \
    for (int64_t i = 0; i < count; i += TCOMP_LANES)                                                                  \
      tcomp_store_v##type(to + i, tcomp_##name##_v##type(tcomp_load_v##type(a + i), tcomp_load_v##type(b + i)));      \
  }
#define ORDER(type, element) BINARY(max, type, element) BINARY(min, type, element)
ORDER(f32, float)
ORDER(f64, double)
ORDER(i32, int32_t)
ORDER(i64, int64_t)
BINARY(fmax, f32, float)
BINARY(fmin, f32, float)
BINARY(fmax, f64, double)
BINARY(fmin, f64, double)
BINARY(fmod, f64, double)
BINARY(remainder, f64, double)
BINARY(copysign, f32, float)
BINARY(copysign, f64, double)
#define DIVISION(type, element)                                                                                       \
  BINARY(trunc_divide, type, element) BINARY(floor_divide, type, element)                                             \
  BINARY(fmod, type, element) BINARY(remainder, type, element)
DIVISION(i32, int32_t)
DIVISION(i64, int64_t)

/* The bits lt, le, gt, ge, eq, ne of a comparison by lanes, and whether select and the scalar forms agree with them. */
#define COMPARE(type, element)                                                                                        \
  void compare_##type(const element *a, const element *b, int32_t *to, int64_t count) {                               \
    for (int64_t i = 0; i < count; i += TCOMP_LANES) {                                                                \
      v##type x = tcomp_load_v##type(a + i), y = tcomp_load_v##type(b + i);                                           \
      vi32 masks[6] = {tcomp_lt_v##type(x, y), tcomp_le_v##type(x, y), tcomp_gt_v##type(x, y),                        \
                       tcomp_ge_v##type(x, y), tcomp_eq_v##type(x, y), tcomp_ne_v##type(x, y)};                       \
      vi32 bits = {0};                                                                                                \
      for (int k = 0; k < 6; k++) bits |= masks[k] & (1 << k);                                                        \
      v##type chosen = tcomp_select_v##type(masks[0], x, y);                                                          \
      for (int lane = 0; lane < TCOMP_LANES; lane++) {                                                                \
        int64_t at = i + lane;                                                                                        \
        element p = a[at], q = b[at];                                                                                 \
        int scalar = tcomp_lt_##type(p, q) | tcomp_le_##type(p, q) << 1 | tcomp_gt_##type(p, q) << 2 |                \
                     tcomp_ge_##type(p, q) << 3 | tcomp_eq_##type(p, q) << 4 | tcomp_ne_##type(p, q) << 5;            \
        element expected = tcomp_select_##type(scalar & 1, p, q), got = chosen[lane];                                 \
        if (scalar != bits[lane] || __builtin_memcmp(&expected, &got, sizeof got)) bits[lane] = -1;                   \
      }                                                                                                               \
      tcomp_store_vi32(to + i, bits);                                                                                 \
    }                                                                                                                 \
  }
COMPARE(f32, float)
COMPARE(f64, double)
COMPARE(i32, int32_t)
COMPARE(i64, int64_t)

#define CONVERT(to_type, from_type, to_element, from_element)                                                         \
  void convert_##to_type##_##from_type(const from_element *from, to_element *to, to_element *scalars, int64_t count) { \
    for (int64_t i = 0; i < count; i++) scalars[i] = tcomp_convert_##to_type##_##from_type(from[i]);                  \
    for (int64_t i = 0; i < count; i += TCOMP_LANES)                                                                  \
      tcomp_store_v##to_type(to + i, tcomp_convert_v##to_type##_v##from_type(tcomp_load_v##from_type(from + i)));     \
  }
CONVERT(f32, f64, float, double)
CONVERT(f32, i32, float, int32_t)
CONVERT(f32, i64, float, int64_t)
CONVERT(f64, f32, double, float)
CONVERT(f64, i32, double, int32_t)
CONVERT(f64, i64, double, int64_t)
CONVERT(i32, f32, int32_t, float)
CONVERT(i32, f64, int32_t, double)
CONVERT(i32, i64, int32_t, int64_t)
CONVERT(i64, f32, int64_t, float)
CONVERT(i64, f64, int64_t, double)
CONVERT(i64, i32, int64_t, int32_t)

#define GATHER(type, element, index, index_element)                                                                   \
  void gather_##type##_##index(const element *base, const index_element *at, const index_element *wild,               \
                               const int32_t *mask, element *to, element *masked) {                                   \
    v##index first = tcomp_load_v##index(at), second = tcomp_load_v##index(wild);                                     \
    tcomp_store_v##type(to, tcomp_gather_v##type##_##index(base, first));                                             \
    tcomp_store_v##type(masked, tcomp_gather_masked_v##type##_##index(base, second, tcomp_load_vi32(mask)));          \
  }
GATHER(f32, float, i32, int32_t)
GATHER(f64, double, i32, int32_t)
GATHER(i32, int32_t, i32, int32_t)
GATHER(i64, int64_t, i32, int32_t)
GATHER(f32, float, i64, int64_t)
GATHER(f64, double, i64, int64_t)
GATHER(i32, int32_t, i64, int64_t)
GATHER(i64, int64_t, i64, int64_t)

int any_of_first(int64_t n) { return tcomp_any(tcomp_first_lanes(n)); }
int all_of_first(int64_t n) { return tcomp_all(tcomp_first_lanes(n)); }

/* x * y outside, inside and after flush-to-zero. */
void flush(volatile float *x, volatile float *y, float *to) {
  to[0] = *x * *y;
  uint64_t before = tcomp_enter_flush_to_zero();
  to[1] = *x * *y;
  tcomp_leave_flush_to_zero(before);
  to[2] = *x * *y;
}

/* f16 denormals inside flush-to-zero. */
void flushed_decode_f16(const uint16_t *from, float *to) {
  uint64_t before = tcomp_enter_flush_to_zero();
  tcomp_store_vf32(to, tcomp_load_vf32_f16(from));
  tcomp_leave_flush_to_zero(before);
}

void clamp_f32(const float *x, float *to, float low, float high) {
  tcomp_store_vf32(to, tcomp_clamp_vf32(tcomp_load_vf32(x), tcomp_broadcast_vf32(low), tcomp_broadcast_vf32(high)));
}
