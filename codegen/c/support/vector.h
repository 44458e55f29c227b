/* Vector arithmetic for generated C kernels: GCC and clang vector extensions, with built-ins where an instruction set has better.
 *
 * Compile with -O3 -march=native -ffp-contract=fast -Wno-psabi, never -ffast-math, and link libm. A vector has TCOMP_LANES
 * lanes: 16 with AVX-512 (F, BW, DQ, VL), 8 with AVX2, else 4; a smaller number can be defined before the inclusion. Types are
 * vf32 vf64 vi32 vi64, and vu32 vu64 vu16 vi16 vu8 vi8 for bits and storage; a mask is a vi32 of -1 and 0, in scalar code an
 * int. Scalar forms of f32 functions give the same bits as the vector forms.
 *
 * Names are tcomp_<operation>_<type>. Each row: operations, then types.
 *   abs max min relu clamp sign select eq ne lt le gt ge : vf32 vf64 vi32 vi64 f32 f64 i32 i64
 *   fmod remainder : vf32 vf64 vi32 vi64 f32 f64 i32 i64
 *   trunc_divide floor_divide : vi32 vi64 i32 i64
 *   copysign fmax fmin isnan isinf isfinite : vf32 vf64 f32 f64
 *   sqrt rsqrt reciprocal round floor ceil trunc : vf32 vf64 f32 f64
 *   exp exp2 expm1 log log2 log10 log1p sigmoid tanh erf erfc erfinv lgamma digamma : vf32 vf64 f32 f64
 *   sin cos tan asin acos atan sinh cosh asinh acosh atanh pow atan2 : vf32 vf64 f32 f64
 *   broadcast : vf32 vf64 vi32 vi64
 *   iota : vi32 vi64
 *   reduce_sum reduce_prod reduce_max reduce_min : vf32 vf64 vi32 vi64
 *   load store load_part store_part : vf32 vf64 vi32 vi64 vu16 vi16 vu8 vi8
 *   load store load_part store_part : vf32_bf16 vf32_f16 vf32_f64 vi32_u8 vi32_i8 vi32_i16 vi32_u16 vi32_i64 vi32_bool
 *   load store : f32_bf16 f32_f16
 *   load_first load_second store_both load_part_first load_part_second store_part_both : vf32 vf64 vi32 vi64
 *   gather gather_masked : vf32_i32 vf64_i32 vi32_i32 vi64_i32 vf32_i64 vf64_i64 vi32_i64 vi64_i64
 *   convert : vf32_vf64 vf32_vi32 vf32_vi64 vf64_vf32 vf64_vi32 vf64_vi64
 *   convert : vi32_vf32 vi32_vf64 vi32_vi64 vi64_vf32 vi64_vf64 vi64_vi32
 *   convert : f32_f64 f32_i32 f32_i64 f64_f32 f64_i32 f64_i64 i32_f32 i32_f64 i32_i64 i64_f32 i64_f64 i64_i32
 * and tcomp_first_lanes(n), tcomp_any(mask), tcomp_all(mask), tcomp_enter_flush_to_zero(), tcomp_leave_flush_to_zero(mode).
 * Of indices, inside checked : i64 vi64, see index_checks.h.
 * convert_<to>_<from> is C's cast; load_<lanes>_<memory> converts as it loads; gather_<lanes>_<index>(base, index[, mask]).
 *
 * Largest error of the f32 forms in units of the last place of the exact result, with fused multiply-add and without it.
 * Measured against float64 libm by `python -m tests.vector_math_report`. The first six with fused multiply-add: all 2^32 inputs
 * with AVX-512, nothing larger in every 61st input with AVX2. rsqrt: all of [1, 4). All others: every 61st input, or 70
 * million pairs for functions of two arguments. Such a sample can miss the largest error: for the first six with fused
 * multiply-add by 0.01 to 0.09 (erf). Their second column is therefore the sampled maximum and 0.09 more, an estimate and no
 * proof. Correct rounding is 0.5; what is computed in f64 and rounded once is stated as 0.51, which no sampled input exceeds.
 *   exp         0.90    1.23
 *   exp2        0.92    1.28
 *   log         0.94    1.16
 *   sigmoid     1.50    2.16
 *   tanh        1.45    1.54
 *   erf         1.85    2.03
 *   expm1       0.51    0.51
 *   log1p       0.51    0.51
 *   log2        0.51    0.51
 *   log10       0.51    0.51
 *   sin         0.51    0.51
 *   cos         0.51    0.51
 *   tan         0.51    0.51
 *   asin        0.51    0.51
 *   acos        0.51    0.51
 *   atan        0.51    0.51
 *   sinh        0.51    0.51
 *   cosh        0.51    0.51
 *   asinh       0.51    0.51
 *   acosh       0.51    0.51
 *   atanh       0.51    0.51
 *   erfc        0.51    0.51
 *   erfinv      0.51    0.51
 *   lgamma      0.51    0.51
 *   digamma     0.51    0.51
 *   sqrt        0.51    0.51
 *   rsqrt       1.50    1.50
 *   reciprocal  0.51    0.51
 *   round       0.00    0.00
 *   floor       0.00    0.00
 *   ceil        0.00    0.00
 *   trunc       0.00    0.00
 *   abs         0.00    0.00
 *   relu        0.00    0.00
 *   sign        0.00    0.00
 *   pow         0.51    0.51
 *   atan2       0.51    0.51
 *   fmod        0.00    0.00
 *   remainder   0.00    0.00
 */
#ifndef TCOMP_VECTOR_H
#define TCOMP_VECTOR_H

#include "flush_to_zero.h"
#include "index_checks.h"
#include "vector_arithmetic.h"
#include "vector_math.h"
#include "vector_math_libm.h"
#include "vector_rare.h"
#include "vector_math_wide.h"
#include "vector_memory.h"
#include "vector_pairs.h"
#include "vector_reduce.h"
#include "vector_types.h"

#endif
