/* Measures the vector functions of codegen/support against float64 libm; driven through ctypes by tests/vector_math_report.py.
 *
 * Compiled once per instruction set. A unary function is scanned over the bit patterns start, start + stride, ... below stop; a
 * binary one over pairs drawn from a generator, every third pair holding a special value.
 */
#include "vector.h"

#include <math.h>
#include <string.h>

typedef struct {
  double max_ulp;        /* largest error, in units of the last place of the exact result */
  uint32_t worst[2];     /* operand bits where it occurred */
  uint64_t failures;     /* results whose NaN, infinity or zero sign is wrong, or that differ between vector and scalar form */
  uint32_t failure[2];   /* operand bits of the first failure */
  uint64_t count;
} measurement;

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

/* The error of y in ulps of the exact value; infinity counts as 2^128. Negative: NaN, infinity or the sign of zero is wrong. */
static double error_in_ulp(float y, double exact) {
  if (isnan(exact) || isnan(y)) return isnan(exact) && isnan(y) ? 0 : -1;
  if (exact == 0) return y == 0 && !signbit(y) == !signbit(exact) ? 0 : -1;
  if (isinf(exact)) return y == exact ? 0 : -1;
  if (isinf(y) && (float)exact == y) return 0;
  double value = isinf(y) ? copysign(0x1p128, y) : y;
  int exponent = ilogb(exact);
  if (exponent < -126) exponent = -126;
  if (exponent > 127) exponent = 127;
  return fabs(value - exact) / ldexp(1, exponent - 23);
}

static void record(measurement *m, uint32_t a, uint32_t b, float y, float scalar, double exact) {
  double error = error_in_ulp(y, exact);
  int same = bits_of(y) == bits_of(scalar) || (isnan(y) && isnan(scalar));
  m->count++;
  if (error < 0 || !same) {
    if (m->failures++ == 0) m->failure[0] = a, m->failure[1] = b;
  } else if (error > m->max_ulp) {
    m->max_ulp = error;
    m->worst[0] = a, m->worst[1] = b;
  }
}

static inline double exact_sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static inline double exact_rsqrt(double x) { return 1 / sqrt(x); }
static inline double exact_reciprocal(double x) { return 1 / x; }
static inline double exact_relu(double x) { return x < 0 ? 0 : x; }
static inline double exact_sign(double x) { return isnan(x) ? 0 : (x > 0) - (x < 0); }
static inline double exact_remainder(double a, double b) {
  double r = fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? (float)r + (float)b : r;
}
/* Newton's iteration on erf or, near 1, on erfc, from libm alone. */
static inline double exact_erfinv(double x) {
  if (!(fabs(x) < 1)) return fabs(x) == 1 ? x * INFINITY : NAN;
  if (x == 0) return x;
  double a = fabs(x), w = -log((1 - a) * (1 + a)), c = 2 / (M_PI * 0.147) - w / 2;
  double y = sqrt(sqrt(c * c + w / 0.147) - c);
  for (int i = 0; i < 4; i++) {
    double step = (a < 0.5 ? erf(y) - a : (1 - a) - erfc(y)) * exp(y * y) * (sqrt(M_PI) / 2);
    y -= step / (1 + y * step);
  }
  return copysign(a < 1e-8 ? a * (sqrt(M_PI) / 2) : y, x);
}
/* Recurrence up to 20 and the asymptotic series, in extended precision; reflection for negative arguments. */
static inline double exact_digamma(double x) {
  if (x == 0) return copysign(INFINITY, -x);
  if (isinf(x)) return x > 0 ? x : NAN;
  if (x < 0 && x == floor(x)) return NAN;
  long double z = x, r = 0;
  if (x < 0) {
    long double fraction = z - rintl(z);
    r = -M_PIl / tanl(M_PIl * fraction);
    z = 1 - z;
  }
  for (; z < 20; z += 1) r -= 1 / z;
  long double u = 1 / (z * z);
  long double s = u * (1 / 240.0L - u * (1 / 132.0L - u * (691 / 32760.0L)));
  s = u * (1 / 12.0L - u * (1 / 120.0L - u * (1 / 252.0L - s)));
  return (double)(r + logl(z) - 0.5L / z - s);
}

/* Tests of the harness itself define shorter tables. */
#ifndef UNARY
#define UNARY(X)                                                                                                   \
  X(exp, exp) X(exp2, exp2) X(log, log) X(sigmoid, exact_sigmoid) X(tanh, tanh) X(erf, erf)                         \
  X(expm1, expm1) X(log1p, log1p) X(log2, log2) X(log10, log10) X(sin, sin) X(cos, cos) X(tan, tan) X(asin, asin)   \
  X(acos, acos) X(atan, atan) X(sinh, sinh) X(cosh, cosh) X(asinh, asinh) X(acosh, acosh) X(atanh, atanh)           \
  X(erfc, erfc) X(erfinv, exact_erfinv) X(lgamma, lgamma) X(digamma, exact_digamma) X(sqrt, sqrt)                   \
  X(rsqrt, exact_rsqrt) X(reciprocal, exact_reciprocal) X(round, rint) X(floor, floor) X(ceil, ceil)                \
  X(trunc, trunc) X(abs, fabs) X(relu, exact_relu) X(sign, exact_sign)
#define BINARY(X) X(pow, pow) X(atan2, atan2) X(fmod, fmod) X(remainder, exact_remainder)
#endif

/* Tests plant faults here. */
#ifndef PERTURB
#define PERTURB(y) (y)
#endif
#ifndef PERTURB_SCALAR
#define PERTURB_SCALAR(y) (y)
#endif

int lanes(void) { return TCOMP_LANES; }

/* Each vector against libm; against its scalar form too where `compare` is set. */
#define SCAN_UNARY(name, exact)                                                                        \
  void scan_##name(uint64_t start, uint64_t stop, uint64_t stride, int compare, measurement *m) {      \
    for (uint64_t at = start; at < stop; at += stride * TCOMP_LANES) {                                 \
      vf32 x;                                                                                          \
      for (int i = 0; i < TCOMP_LANES; i++) x[i] = float_of((uint32_t)(at + stride * i));              \
      vf32 y = tcomp_##name##_vf32(x);                                                                 \
      for (int i = 0; i < TCOMP_LANES; i++)                                                            \
        record(m, bits_of(x[i]), 0, PERTURB(y[i]),                                                     \
               PERTURB_SCALAR(compare ? tcomp_##name##_f32(x[i]) : PERTURB(y[i])), exact(x[i]));               \
    }                                                                                                  \
  }
UNARY(SCAN_UNARY)

static inline uint32_t draw(uint64_t *state, const float *specials, int special_count) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  uint32_t high = (uint32_t)(*state >> 32);
  if (high % 3 == 0) return bits_of(specials[(high >> 8) % special_count]);
  if (high % 3 == 1) return bits_of(ldexpf((float)(int32_t)(high & ~0xffu), -31 + (int)(high & 7)));
  return high;
}

__attribute__((unused)) static const float specials[] = {
    0.0f, -0.0f, 1, -1, 2, -2, 3, -3, 0.5f, -0.5f, 1.5f, 10, 0x1p24f, 0x1.000002p23f, 0x1p31f, -0x1p31f,
    0x1.fffffep-1f, 0x1.000002p0f, 0x1p-149f, -0x1p-149f, 0x1p-126f, 0x1.fffffep127f, -0x1.fffffep127f,
    INFINITY, -INFINITY, NAN};

#define SCAN_BINARY(name, exact)                                                                                       \
  void scan_##name(uint64_t seed, uint64_t count, uint64_t unused, int compare, measurement *m) {                      \
    (void)unused;                                                                                                      \
    for (uint64_t done = 0; done < count; done += TCOMP_LANES) {                                                       \
      vf32 x, y;                                                                                                       \
      for (int i = 0; i < TCOMP_LANES; i++) {                                                                          \
        x[i] = float_of(draw(&seed, specials, sizeof specials / sizeof *specials));                                    \
        y[i] = float_of(draw(&seed, specials, sizeof specials / sizeof *specials));                                    \
      }                                                                                                                \
      vf32 z = tcomp_##name##_vf32(x, y);                                                                              \
      for (int i = 0; i < TCOMP_LANES; i++)                                                                            \
        record(m, bits_of(x[i]), bits_of(y[i]), PERTURB(z[i]), compare ? tcomp_##name##_f32(x[i], y[i]) : PERTURB(z[i]),  \
               exact(x[i], y[i]));                                                                                     \
    }                                                                                                                  \
  }
BINARY(SCAN_BINARY)

#define MAP_F64(name, exact)                                                              \
  void map_f64_##name(const double *x, double *lanes, double *scalars, int64_t count) {   \
    for (int64_t i = 0; i < count; i++) scalars[i] = tcomp_##name##_f64(x[i]);            \
    for (int64_t i = 0; i < count; i += TCOMP_LANES)                                      \
      tcomp_store_vf64(lanes + i, tcomp_##name##_vf64(tcomp_load_vf64(x + i)));           \
  }
UNARY(MAP_F64)
