"""What a machine with a GPU is asked: is tcomp right there, and how fast is it? `python -m tests.gpu --help` says more.

    case.py        what a case is
    cases*.py      single kernels: tables of small modules, one line each; what is added there is checked
    scenarios.py   behaviour: sizes that change, weights that change, streams, threads, training, faults
    benchmarks.py  what is measured, against whom; modules.py has what it shares with cases
    check.py       results against float64, by the error that eager makes
    measure.py     clocks: CUDA events, peers in turns, recordings
    contest.py     tcomp and its peers at one module
    rows.py        all of these as rows of sections
    worker.py      a process that runs rows, which may crash or hang
    schedule.py    which worker runs which row when, and for how long
    results.py     what became of a row; JSON
    report.py      tables and thresholds, which show.py prints
"""
