"""A worker: reads jobs, examines seeds and tells what came of them, until its input ends or it dies of what it was given.

    python -m tcomp.fuzz.campaign.worker [--megabytes N] [--layers=NAMES] [--compiler=NAME]

It says which seed it is about to examine before it does, so that whoever started it knows what killed it.
"""

from __future__ import annotations

import resource
import sys
import time
import warnings

from tcomp.fuzz.feedback.probes import install
from tcomp.settings import override_environment


def main() -> None:
    """Serve until the input ends."""
    # Before anything that is to be covered is imported.
    probes = install()
    # Threads of libraries would only get in the way of other workers.
    with override_environment({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "99"}):
        from tcomp.fuzz.campaign.examine import examine_job, make_text  # noqa: PLC0415 (as above)
        from tcomp.fuzz.campaign.protocol import Answer, Ready, read_job, write_line  # noqa: PLC0415 (as above)
        from tcomp.fuzz.layers.table import LAYERS, TCOMP, find_layers  # noqa: PLC0415 (as above)

        asked = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
        layers = find_layers(tuple(asked.get("layers", ",".join(LAYERS)).split(",")), asked.get("compiler", TCOMP))
    if "--megabytes" in sys.argv:
        limit = int(sys.argv[sys.argv.index("--megabytes") + 1]) << 20
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
