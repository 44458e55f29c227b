/* Loads and stores of whole vectors and of the first n lanes, with conversion of narrow storage types; gathers.
 *
 * tcomp_load_<vector>(p), tcomp_load_part_<vector>(p, n) and the same with a storage suffix, as tcomp_load_vf32_bf16(p).
 * A part, 0 <= n, touches no memory beyond its n elements and fills the other lanes with 0; with n >= TCOMP_LANES it is a
 * whole vector. Pointers need the alignment of the element.
 * A bool in memory is one byte, 0 or 1; in a register it is a mask.
 */
#ifndef TCOMP_VECTOR_MEMORY_H
#define TCOMP_VECTOR_MEMORY_H

#include "vector_types.h"

/* The first n of TCOMP_LANES elements through a buffer; the copies are of fixed size so that none becomes a call. */
#define TCOMP_BUFFERED_PARTS(vector, element)                                                 \
  TCOMP_INLINE vector tcomp_load_part_##vector(const element *p, int64_t n) {                 \
    if (n >= TCOMP_LANES) return *(const vector##_unaligned *)p;                              \
    vector x = {0};                                                                           \
    element *lane = (element *)&x;                                                            \
    int64_t done = 0;                                                                         \
    for (int size = TCOMP_LANES / 2; size >= 1; size /= 2)                                    \
      if (n & size) __builtin_memcpy(lane + done, p + done, sizeof(element) * size), done += size; \
    return x;                                                                                 \
  }                                                                                           \
  TCOMP_INLINE void tcomp_store_part_##vector(element *p, vector x, int64_t n) {              \
    const element *lane = (const element *)&x;                                                \
    int64_t done = 0;                                                                         \
    if (n >= TCOMP_LANES) {                                                                   \
      *(vector##_unaligned *)p = x;                                                           \
      return;                                                                                 \
    }                                                                                         \
    for (int size = TCOMP_LANES / 2; size >= 1; size /= 2)                                    \
      if (n & size) __builtin_memcpy(p + done, lane + done, sizeof(element) * size), done += size; \
  }
#define TCOMP_WHOLE(vector, element)                                                                            \
  TCOMP_INLINE vector tcomp_load_##vector(const element *p) { return *(const vector##_unaligned *)p; }          \
  TCOMP_INLINE void tcomp_store_##vector(element *p, vector x) { *(vector##_unaligned *)p = x; }
TCOMP_WHOLE(vf32, float)
TCOMP_WHOLE(vf64, double)
TCOMP_WHOLE(vi32, int32_t)
TCOMP_WHOLE(vi64, int64_t)
TCOMP_WHOLE(vu16, uint16_t)
TCOMP_WHOLE(vi16, int16_t)
TCOMP_WHOLE(vu8, uint8_t)
TCOMP_WHOLE(vi8, int8_t)
#undef TCOMP_WHOLE

#if TCOMP_AVX512
/* A mask register with the first n bits set. */
TCOMP_INLINE uint16_t tcomp_first_bits(int64_t n) { return (uint16_t)(n >= 16 ? 0xffff : (1u << n) - 1); }
TCOMP_INLINE vf32 tcomp_load_part_vf32(const float *p, int64_t n) {
  return __builtin_ia32_loadups512_mask((const void *)p, (vf32){0}, tcomp_first_bits(n));
}
TCOMP_INLINE void tcomp_store_part_vf32(float *p, vf32 x, int64_t n) {
  __builtin_ia32_storeups512_mask((void *)p, x, tcomp_first_bits(n));
}
TCOMP_INLINE vi32 tcomp_load_part_vi32(const int32_t *p, int64_t n) {
  return (vi32)tcomp_load_part_vf32((const float *)p, n);
}
TCOMP_INLINE void tcomp_store_part_vi32(int32_t *p, vi32 x, int64_t n) {
  tcomp_store_part_vf32((float *)p, (vf32)x, n);
}
typedef int16_t tcomp_lanes_i16 __attribute__((vector_size(32)));
typedef char tcomp_lanes_i8 __attribute__((vector_size(16)));
TCOMP_INLINE vu16 tcomp_load_part_vu16(const uint16_t *p, int64_t n) {
  return (vu16)__builtin_ia32_loaddquhi256_mask((const void *)p, (tcomp_lanes_i16){0}, tcomp_first_bits(n));
}
TCOMP_INLINE void tcomp_store_part_vu16(uint16_t *p, vu16 x, int64_t n) {
  __builtin_ia32_storedquhi256_mask((void *)p, (tcomp_lanes_i16)x, tcomp_first_bits(n));
}
TCOMP_INLINE vu8 tcomp_load_part_vu8(const uint8_t *p, int64_t n) {
  return (vu8)__builtin_ia32_loaddquqi128_mask((const void *)p, (tcomp_lanes_i8){0}, tcomp_first_bits(n));
}
TCOMP_INLINE void tcomp_store_part_vu8(uint8_t *p, vu8 x, int64_t n) {
  __builtin_ia32_storedquqi128_mask((void *)p, (tcomp_lanes_i8)x, tcomp_first_bits(n));
}
#else
#if TCOMP_AVX2
TCOMP_INLINE vf32 tcomp_load_part_vf32(const float *p, int64_t n) {
  return __builtin_ia32_maskloadps256((const vf32 *)p, tcomp_first_lanes(n));
}
TCOMP_INLINE void tcomp_store_part_vf32(float *p, vf32 x, int64_t n) {
  __builtin_ia32_maskstoreps256((vf32 *)p, tcomp_first_lanes(n), x);
}
TCOMP_INLINE vi32 tcomp_load_part_vi32(const int32_t *p, int64_t n) {
  return (vi32)tcomp_load_part_vf32((const float *)p, n);
}
TCOMP_INLINE void tcomp_store_part_vi32(int32_t *p, vi32 x, int64_t n) {
  tcomp_store_part_vf32((float *)p, (vf32)x, n);
}
#else
TCOMP_BUFFERED_PARTS(vf32, float)
TCOMP_BUFFERED_PARTS(vi32, int32_t)
#endif
TCOMP_BUFFERED_PARTS(vu16, uint16_t)
TCOMP_BUFFERED_PARTS(vu8, uint8_t)
#endif
TCOMP_BUFFERED_PARTS(vf64, double)
TCOMP_BUFFERED_PARTS(vi64, int64_t)
#undef TCOMP_BUFFERED_PARTS
TCOMP_INLINE vi16 tcomp_load_part_vi16(const int16_t *p, int64_t n) {
  return (vi16)tcomp_load_part_vu16((const uint16_t *)p, n);
}
TCOMP_INLINE void tcomp_store_part_vi16(int16_t *p, vi16 x, int64_t n) {
  tcomp_store_part_vu16((uint16_t *)p, (vu16)x, n);
}
TCOMP_INLINE vi8 tcomp_load_part_vi8(const int8_t *p, int64_t n) {
  return (vi8)tcomp_load_part_vu8((const uint8_t *)p, n);
}
TCOMP_INLINE void tcomp_store_part_vi8(int8_t *p, vi8 x, int64_t n) { tcomp_store_part_vu8((uint8_t *)p, (vu8)x, n); }

/* Widening of integer lanes: GCC's generic conversion takes eight instructions where x86 has one. */
#if TCOMP_GCC && TCOMP_AVX512
#define TCOMP_WIDEN_8(x, sign) __builtin_ia32_pmov##sign##xbd512_mask((tcomp_lanes_i8)(x), (vi32){0}, (uint16_t)-1)
#define TCOMP_WIDEN_16(x, sign) __builtin_ia32_pmov##sign##xwd512_mask((tcomp_lanes_i16)(x), (vi32){0}, (uint16_t)-1)
#elif TCOMP_GCC && (TCOMP_AVX2 || (TCOMP_SSE2 && defined(__SSE4_1__)))
typedef char tcomp_register_i8 __attribute__((vector_size(16)));
typedef int16_t tcomp_register_i16 __attribute__((vector_size(16)));
typedef int32_t tcomp_register_i32 __attribute__((vector_size(16)));
typedef int64_t tcomp_register_i64 __attribute__((vector_size(16)));
/* Narrow vectors as the low part of a register; through an integer, for a union would go through memory. */
TCOMP_INLINE tcomp_register_i8 tcomp_low_bytes(vu8 x) {
#if TCOMP_LANES == 8
  return (tcomp_register_i8)(tcomp_register_i64){(int64_t)x, 0};
#else
  return (tcomp_register_i8)(tcomp_register_i32){(int32_t)x, 0, 0, 0};
#endif
}
TCOMP_INLINE tcomp_register_i16 tcomp_low_words(vu16 x) {
#if TCOMP_LANES == 8
  return (tcomp_register_i16)x;
#else
  return (tcomp_register_i16)(tcomp_register_i64){(int64_t)x, 0};
#endif
}
#if TCOMP_AVX2
#define TCOMP_WIDEN_8(x, sign) __builtin_ia32_pmov##sign##xbd256(tcomp_low_bytes((vu8)(x)))
#define TCOMP_WIDEN_16(x, sign) __builtin_ia32_pmov##sign##xwd256(tcomp_low_words((vu16)(x)))
#else
#define TCOMP_WIDEN_8(x, sign) __builtin_ia32_pmov##sign##xbd128(tcomp_low_bytes((vu8)(x)))
#define TCOMP_WIDEN_16(x, sign) __builtin_ia32_pmov##sign##xwd128(tcomp_low_words((vu16)(x)))
#endif
#else
#define TCOMP_WIDEN_8(x, sign) __builtin_convertvector(x, vi32)
#define TCOMP_WIDEN_16(x, sign) __builtin_convertvector(x, vi32)
#endif
TCOMP_INLINE vi32 tcomp_widen_vu8(vu8 x) { return (vi32)TCOMP_WIDEN_8(x, z); }
TCOMP_INLINE vi32 tcomp_widen_vi8(vi8 x) { return (vi32)TCOMP_WIDEN_8(x, s); }
TCOMP_INLINE vi32 tcomp_widen_vu16(vu16 x) { return (vi32)TCOMP_WIDEN_16(x, z); }
TCOMP_INLINE vi32 tcomp_widen_vi16(vi16 x) { return (vi32)TCOMP_WIDEN_16(x, s); }
/* Narrowing keeps the low bits. In two steps below AVX-512, which GCC turns into shuffles; in one it takes the lanes apart. */
TCOMP_INLINE vu16 tcomp_narrow_vu16(vi32 x) {
#if TCOMP_GCC && TCOMP_AVX512
  return (vu16)__builtin_ia32_pmovdw512_mask(x, (tcomp_lanes_i16){0}, (uint16_t)-1);
#else
  return __builtin_convertvector(x, vu16);
#endif
}
TCOMP_INLINE vu8 tcomp_narrow_vu8(vi32 x) {
#if TCOMP_AVX512
  return __builtin_convertvector(x, vu8);
#else
  return __builtin_convertvector(__builtin_convertvector(x, vu16), vu8);
#endif
}

/* bf16: the upper half of an f32; stores round to nearest even and keep NaN a NaN. */
TCOMP_INLINE vf32 tcomp_decode_bf16(vu16 x) { return (vf32)(tcomp_widen_vu16(x) << 16); }
TCOMP_INLINE vu16 tcomp_encode_bf16(vf32 x) {
  vu32 bits = (vu32)x;
  vi32 rounded = (vi32)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  return tcomp_narrow_vu16(tcomp_select_vi32(x != x, (vi32){0} + 0x7fc0, rounded));
}

/* f16: by instruction where there is one, else by integer arithmetic that no flush-to-zero mode can disturb. */
#if TCOMP_GCC && TCOMP_AVX512
TCOMP_INLINE vf32 tcomp_decode_f16(vu16 x) {
  return __builtin_ia32_vcvtph2ps512_mask((tcomp_lanes_i16)x, (vf32){0}, (uint16_t)-1, 4);
}
TCOMP_INLINE vu16 tcomp_encode_f16(vf32 x) {
  return (vu16)__builtin_ia32_vcvtps2ph512_mask(x, 0, (tcomp_lanes_i16){0}, (uint16_t)-1);
}
#elif TCOMP_GCC && TCOMP_AVX2 && defined(__F16C__)
TCOMP_INLINE vf32 tcomp_decode_f16(vu16 x) { return __builtin_ia32_vcvtph2ps256((tcomp_register_i16)x); }
TCOMP_INLINE vu16 tcomp_encode_f16(vf32 x) { return (vu16)__builtin_ia32_vcvtps2ph256(x, 0); }
#else
TCOMP_INLINE vf32 tcomp_decode_f16(vu16 x) {
  vi32 half = tcomp_widen_vu16(x);
  vi32 magnitude = half & 0x7fff;
  vi32 normal = (magnitude << 13) + (112 << 23) + ((magnitude >= 0x7c00) & (112 << 23));
  vf32 denormal = __builtin_convertvector(magnitude, vf32) * 0x1p-24f;
  vi32 r = tcomp_select_vi32(magnitude < 0x400, (vi32)denormal, normal);
  r |= (half & 0x8000) << 16;
  return (vf32)(r | ((magnitude > 0x7c00) & 0x400000));
}
TCOMP_INLINE vu16 tcomp_encode_f16(vf32 x) {
  vi32 bits = (vi32)x;
  vi32 magnitude = bits & 0x7fffffff;
  vi32 normal = (magnitude - (112 << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  vi32 denormal = (vi32)((vf32)magnitude + 0.5f) - 0x3f000000;
  vi32 r = tcomp_select_vi32(magnitude < 0x38800000, denormal, normal);
  r = tcomp_select_vi32(magnitude >= 0x477ff000, (vi32){0} + 0x7c00, r);
  r = tcomp_select_vi32(magnitude > 0x7f800000, 0x7e00 | ((magnitude >> 13) & 0x3ff), r);
  return tcomp_narrow_vu16(r | ((bits >> 16) & 0x8000));
}
#endif

/* Storage types that become vf32 or vi32 lanes; `raw` is the vector type in memory. i64 lanes beyond 32 bits are cut. */
#define TCOMP_STORAGE(vector, suffix, element, raw, raw_element, decode, encode)                              \
  TCOMP_INLINE vector tcomp_load_##vector##_##suffix(const element *p) {                                      \
    return decode(tcomp_load_##raw((const raw_element *)p));                                                  \
  }                                                                                                           \
  TCOMP_INLINE vector tcomp_load_part_##vector##_##suffix(const element *p, int64_t n) {                      \
    return decode(tcomp_load_part_##raw((const raw_element *)p, n));                                          \
  }                                                                                                           \
  TCOMP_INLINE void tcomp_store_##vector##_##suffix(element *p, vector x) {                                   \
    tcomp_store_##raw((raw_element *)p, encode(x));                                                           \
  }                                                                                                           \
  TCOMP_INLINE void tcomp_store_part_##vector##_##suffix(element *p, vector x, int64_t n) {                   \
    tcomp_store_part_##raw((raw_element *)p, encode(x), n);                                                   \
  }
TCOMP_INLINE vi8 tcomp_narrow_vi8(vi32 x) { return (vi8)tcomp_narrow_vu8(x); }
TCOMP_INLINE vi16 tcomp_narrow_vi16(vi32 x) { return (vi16)tcomp_narrow_vu16(x); }
TCOMP_INLINE vi32 tcomp_decode_bool(vu8 x) { return tcomp_widen_vu8(x) != 0; }
TCOMP_INLINE vu8 tcomp_encode_bool(vi32 mask) { return tcomp_narrow_vu8(mask & 1); }
TCOMP_STORAGE(vf32, bf16, uint16_t, vu16, uint16_t, tcomp_decode_bf16, tcomp_encode_bf16)
TCOMP_STORAGE(vf32, f16, uint16_t, vu16, uint16_t, tcomp_decode_f16, tcomp_encode_f16)
TCOMP_STORAGE(vf32, f64, double, vf64, double, tcomp_convert_vf32_vf64, tcomp_convert_vf64_vf32)
TCOMP_STORAGE(vi32, u8, uint8_t, vu8, uint8_t, tcomp_widen_vu8, tcomp_narrow_vu8)
TCOMP_STORAGE(vi32, i8, int8_t, vi8, int8_t, tcomp_widen_vi8, tcomp_narrow_vi8)
TCOMP_STORAGE(vi32, i16, int16_t, vi16, int16_t, tcomp_widen_vi16, tcomp_narrow_vi16)
TCOMP_STORAGE(vi32, u16, uint16_t, vu16, uint16_t, tcomp_widen_vu16, tcomp_narrow_vu16)
TCOMP_STORAGE(vi32, i64, int64_t, vi64, int64_t, tcomp_convert_vi32_vi64, tcomp_convert_vi64_vi32)
TCOMP_STORAGE(vi32, bool, uint8_t, vu8, uint8_t, tcomp_decode_bool, tcomp_encode_bool)
#undef TCOMP_STORAGE

/* Scalars of those storage types, bit for bit like the lanes. */
TCOMP_INLINE float tcomp_load_f32_bf16(const uint16_t *p) {
  uint32_t bits = (uint32_t)*p << 16;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
TCOMP_INLINE void tcomp_store_f32_bf16(uint16_t *p, float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  *p = x != x ? 0x7fc0 : (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
TCOMP_INLINE float tcomp_load_f32_f16(const uint16_t *p) { return tcomp_decode_f16((vu16){0} + *p)[0]; }
TCOMP_INLINE void tcomp_store_f32_f16(uint16_t *p, float x) { *p = tcomp_encode_f16(tcomp_broadcast_vf32(x))[0]; }

/* Lane i is base[index[i]]; the masked form reads only where the mask is true and gives 0 elsewhere. */
#define TCOMP_GATHER(vector, element, index, index_element)                                                            \
  TCOMP_INLINE vector tcomp_gather_##vector##_##index(const element *base, v##index at) {                              \
    vector r;                                                                                                          \
    for (int i = 0; i < TCOMP_LANES; i++) r[i] = base[at[i]];                                                          \
    return r;                                                                                                          \
  }                                                                                                                    \
  TCOMP_INLINE vector tcomp_gather_masked_##vector##_##index(const element *base, v##index at, vi32 mask) {            \
    vector r = {0};                                                                                                    \
    for (int i = 0; i < TCOMP_LANES; i++)                                                                              \
      if (mask[i]) r[i] = base[at[i]];                                                                                 \
    return r;                                                                                                          \
  }
#if TCOMP_AVX512
TCOMP_INLINE vf32 tcomp_gather_vf32_i32(const float *base, vi32 at) {
  return __builtin_ia32_gathersiv16sf((vf32){0}, (const void *)base, at, (uint16_t)-1, 4);
}
TCOMP_INLINE vf32 tcomp_gather_masked_vf32_i32(const float *base, vi32 at, vi32 mask) {
  return __builtin_ia32_gathersiv16sf((vf32){0}, (const void *)base, at, tcomp_mask_bits(mask), 4);
}
TCOMP_INLINE vi32 tcomp_gather_vi32_i32(const int32_t *base, vi32 at) {
  return (vi32)tcomp_gather_vf32_i32((const float *)base, at);
}
TCOMP_INLINE vi32 tcomp_gather_masked_vi32_i32(const int32_t *base, vi32 at, vi32 mask) {
  return (vi32)tcomp_gather_masked_vf32_i32((const float *)base, at, mask);
}
#else
TCOMP_GATHER(vf32, float, i32, int32_t)
TCOMP_GATHER(vi32, int32_t, i32, int32_t)
#endif
TCOMP_GATHER(vf64, double, i32, int32_t)
TCOMP_GATHER(vi64, int64_t, i32, int32_t)
TCOMP_GATHER(vf32, float, i64, int64_t)
TCOMP_GATHER(vi32, int32_t, i64, int64_t)
TCOMP_GATHER(vf64, double, i64, int64_t)
TCOMP_GATHER(vi64, int64_t, i64, int64_t)
#undef TCOMP_GATHER

#endif
