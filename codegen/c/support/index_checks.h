/* Checks of indices that are data. One that fails notes its number in `*fault`; what it guards then reads element 0, or is not
 * stored. `wanted` says which lanes matter.
 */
#ifndef TCOMP_INDEX_CHECKS_H
#define TCOMP_INDEX_CHECKS_H

#include "vector_arithmetic.h"
#include "vector_types.h"

/* Whether 0 <= index < extent. */
TCOMP_INLINE int tcomp_inside_i64(int64_t index, int64_t extent, int32_t *fault, int32_t number) {
  if (__builtin_expect((uint64_t)index < (uint64_t)extent, 1)) return 1;
  *fault = number;
  return 0;
}

/* The index, or 0. */
TCOMP_INLINE int64_t tcomp_checked_i64(int64_t index, int64_t extent, int32_t *fault, int32_t number) {
  return tcomp_inside_i64(index, extent, fault, number) ? index : 0;
}

/* Which of the wanted lanes are inside. */
TCOMP_INLINE vi32 tcomp_inside_vi64(vi64 index, int64_t extent, vi32 wanted, int32_t *fault, int32_t number) {
  vi32 inside = tcomp_ge_vi64(index, (vi64){0}) & tcomp_lt_vi64(index, tcomp_broadcast_vi64(extent));
  if (__builtin_expect(tcomp_any(wanted & ~inside), 0)) *fault = number;
  return wanted & inside;
}

/* The indices, or 0. */
TCOMP_INLINE vi64 tcomp_checked_vi64(vi64 index, int64_t extent, vi32 wanted, int32_t *fault, int32_t number) {
  return tcomp_select_vi64(tcomp_inside_vi64(index, extent, wanted, fault, number), index, (vi64){0});
}

#endif
