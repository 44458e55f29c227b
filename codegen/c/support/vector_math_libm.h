/* Functions that models rarely need: a call of the C library a lane. f64 functions are those of libm, so as accurate as it is. */
#ifndef TCOMP_VECTOR_MATH_LIBM_H
#define TCOMP_VECTOR_MATH_LIBM_H

#include "vector_math_wide.h"

/* The reentrant form: lgamma itself writes a global. */
extern double lgamma_r(double, int *);

#define TCOMP_LIBM_F64_1(name, call)                                            \
  TCOMP_RARE double tcomp_##name##_f64(double x) { return call(x); }            \
  TCOMP_LANE_LOOP_1(name, f64, double)
TCOMP_LIBM_F64_1(exp, __builtin_exp)
TCOMP_LIBM_F64_1(exp2, __builtin_exp2)
TCOMP_LIBM_F64_1(expm1, __builtin_expm1)
TCOMP_LIBM_F64_1(log, __builtin_log)
TCOMP_LIBM_F64_1(log2, __builtin_log2)
TCOMP_LIBM_F64_1(log10, __builtin_log10)
TCOMP_LIBM_F64_1(log1p, __builtin_log1p)
TCOMP_LIBM_F64_1(sin, __builtin_sin)
TCOMP_LIBM_F64_1(cos, __builtin_cos)
TCOMP_LIBM_F64_1(tan, __builtin_tan)
TCOMP_LIBM_F64_1(asin, __builtin_asin)
TCOMP_LIBM_F64_1(acos, __builtin_acos)
TCOMP_LIBM_F64_1(atan, __builtin_atan)
TCOMP_LIBM_F64_1(sinh, __builtin_sinh)
TCOMP_LIBM_F64_1(cosh, __builtin_cosh)
TCOMP_LIBM_F64_1(tanh, __builtin_tanh)
TCOMP_LIBM_F64_1(asinh, __builtin_asinh)
TCOMP_LIBM_F64_1(acosh, __builtin_acosh)
TCOMP_LIBM_F64_1(atanh, __builtin_atanh)
TCOMP_LIBM_F64_1(erf, __builtin_erf)
TCOMP_LIBM_F64_1(erfc, __builtin_erfc)
#undef TCOMP_LIBM_F64_1

TCOMP_RARE double tcomp_atan2_f64(double y, double x) { return __builtin_atan2(y, x); }
TCOMP_LANE_LOOP_2(atan2, f64, double)
TCOMP_RARE double tcomp_pow_f64(double x, double y) { return __builtin_pow(x, y); }
TCOMP_LANE_LOOP_2(pow, f64, double)

TCOMP_RARE double tcomp_sigmoid_f64(double x) {
  double e = __builtin_exp(-__builtin_fabs(x));
  return (x < 0 ? e : 1.0) / (1.0 + e);
}
TCOMP_LANE_LOOP_1(sigmoid, f64, double)

/* log |gamma(x)|. */
TCOMP_RARE double tcomp_lgamma_f64(double x) {
  int sign;
  return lgamma_r(x, &sign);
}
TCOMP_LANE_LOOP_1(lgamma, f64, double)

/* The derivative of lgamma: recurrence up to 10, then the asymptotic series; reflection below 0. Next to a root, relative
 * accuracy is lost to cancellation, absolute accuracy is not. PyTorch's values at the poles: infinity of the opposite sign at
 * 0 and -0, NaN at negative integers. */
TCOMP_RARE double tcomp_digamma_f64(double x) {
  if (x == 0) return __builtin_copysign(__builtin_inf(), -x);
  double r = 0;
  if (x < 0) {
    double fraction = x - __builtin_rint(x);
    if (fraction == 0 || x == -__builtin_inf()) return __builtin_nan("");
    const double pi = 2.0 * TCOMP_HALF_PI;
    r = -pi / __builtin_tan(pi * fraction);
    x = 1.0 - x;
  }
  if (x == __builtin_inf()) return x;
  for (; x < 10.0; x += 1.0) r -= 1.0 / x;
  double u = 1.0 / (x * x);
  double s = 1.0 / 132 - u * (691.0 / 32760 - u * (1.0 / 12));
  s = u * (1.0 / 12 - u * (1.0 / 120 - u * (1.0 / 252 - u * (1.0 / 240 - u * s))));
  return r + __builtin_log(x) - 0.5 / x - s;
}
TCOMP_LANE_LOOP_1(digamma, f64, double)

/* Winitzki's approximation and Halley's iteration on erf, near 1 on erfc. */
TCOMP_RARE double tcomp_erfinv_f64(double x) {
  double a = __builtin_fabs(x);
  if (!(a < 1.0)) return a == 1.0 ? x * __builtin_inf() : __builtin_nan("");
  if (a < 1e-9) return x * 0x1.c5bf891b4ef6bp-1;
  double w = -__builtin_log((1.0 - a) * (1.0 + a)), c = 2.0 / (2.0 * TCOMP_HALF_PI * 0.147) - 0.5 * w;
  double y = __builtin_sqrt(__builtin_sqrt(c * c + w / 0.147) - c);
  for (int i = 0; i < 3; i++) {
    double miss = a < 0.5 ? __builtin_erf(y) - a : (1.0 - a) - __builtin_erfc(y);
    double step = miss * __builtin_exp(y * y) * 0x1.c5bf891b4ef6bp-1;
    y -= step / (1.0 + y * step);
  }
  return __builtin_copysign(y, x);
}
TCOMP_LANE_LOOP_1(erfinv, f64, double)

/* The f32 forms round the f64 ones. */
#define TCOMP_ROUNDED_F32(name)                                                                             \
  TCOMP_RARE float tcomp_##name##_f32(float x) { return (float)tcomp_##name##_f64((double)x); }             \
  TCOMP_LANE_LOOP_1(name, f32, float)
TCOMP_ROUNDED_F32(erfc)
TCOMP_ROUNDED_F32(erfinv)
TCOMP_ROUNDED_F32(lgamma)
TCOMP_ROUNDED_F32(digamma)
#undef TCOMP_ROUNDED_F32

#endif
