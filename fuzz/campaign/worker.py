"""A worker: reads jobs, examines seeds and tells what came of them, until its input ends or it dies of what it was given.

    python -m tcomp.fuzz.campaign.worker [--megabytes N] [--plant FAULT] [--layers NAMES] [--compiler NAME]

It says which seed it is about to examine before it does, so that whoever started it knows what killed it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings

from tcomp.fuzz.faults.catalogue import find_fault
from tcomp.fuzz.feedback.probes import install
from tcomp.settings import override_environment


def main() -> None:
    """Serve until the input ends."""
    # Before anything that is to be covered is imported.
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--megabytes", type=int)
    arguments.add_argument("--plant")
    arguments.add_argument("--layers")
    arguments.add_argument("--compiler")
    options = arguments.parse_args()
    fault = find_fault(options.plant) if options.plant else None
    probes = install({} if fault is None else {fault.module: fault.plant})
    # Threads of libraries would only get in the way of other workers.
    with override_environment({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "99"}):
        from tcomp.fuzz.campaign.examine import examine_job, make_text  # noqa: PLC0415 (as above)
        from tcomp.fuzz.campaign.protocol import Answer, Ready, read_job, write_line  # noqa: PLC0415 (as above)
        from tcomp.fuzz.layers.table import LAYERS, TCOMP, find_layers  # noqa: PLC0415 (as above)

        layers = find_layers(tuple(options.layers.split(",")) if options.layers else tuple(LAYERS), options.compiler or TCOMP)
    if options.megabytes:
        limit = options.megabytes << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    warnings.simplefilter("ignore")
    output, sys.stdout = sys.stdout, sys.stderr
    output.write(write_line(Ready(len(probes.names), tuple(probes.names))))
    output.flush()
    # An error inside the compiler is a finding, not a reason to leave an operator to PyTorch.
    with override_environment({"TCOMP_RAISE_FAULTS": "1"}):
        for line in sys.stdin:
            job = read_job(line)
            started = time.monotonic()
            text, invalid = make_text(job, layers)
            output.write(write_line(Answer(text, invalid=invalid)))
            output.flush()
            if invalid:
                continue
            probes.take()
            finding, features = examine_job(job, text, layers)
            seconds = time.monotonic() - started
            output.write(write_line(Answer(text, finding, tuple(sorted(features)), tuple(probes.take()), seconds)))
            output.flush()


if __name__ == "__main__":
    main()
