#ifndef TCOMP_VECTOR_H
#define TCOMP_VECTOR_H
#include "flush_to_zero.h"
#include "vector_types.h"
#include "vector_memory.h"
#include "vector_arithmetic.h"
#include "vector_reduce.h"
#include "vector_math.h"
#include "vector_math_wide.h"
#include "vector_math_libm.h"
#endif
