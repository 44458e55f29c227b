"""Prints the measured errors of the C vector functions: ``python -m tests.vector_math_report [--stride N] [--march M] [name ...]``.

``--stride 1`` visits all 2^32 inputs of each function, which takes one to four minutes a function.
"""

import argparse

from tests.vector_library import build, instruction_sets, is_fused, measure, stated_bounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="functions to measure; all by default")
    parser.add_argument("--stride", type=int, default=1009, help="visit every N-th float (default 1009; 1 is complete)")
    parser.add_argument("--march", choices=instruction_sets(), action="append", help="instruction set; all by default")
    options = parser.parse_args()
    bounds = stated_bounds()
    print(f"{'march':8} {'function':12} {'ulp':>7} {'stated':>7} {'failures':>9} {'inputs':>11}  worst at")
    for march in options.march or instruction_sets():
        library = build("vector_math_harness.c", march)
        for name in options.names or bounds:
            found = measure(library, name, options.stride, compare_scalar=options.stride > 100)
            stated = bounds[name].fused if is_fused(march) else bounds[name].unfused
            row = f"{march:8} {name:12} {found.max_ulp:7.3f} {stated:7.2f} {found.failures:9} {found.count:11}"
            print(f"{row}  {found.worst[0]:.9g}, {found.worst[1]:.9g}", flush=True)


if __name__ == "__main__":
    main()
