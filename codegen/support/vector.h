#ifndef TCOMP_VECTOR_H
#define TCOMP_VECTOR_H
#include "vector_types.h"
#include "vector_arithmetic.h"
#include "vector_math.h"
#endif
