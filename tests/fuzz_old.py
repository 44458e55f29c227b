"""What the fuzzer of this tree finds in another commit: `python -m tests.fuzz_old --commit fb482c3 --time 10m [--help]`.

Makes a checkout of the commit, lays this tree's `fuzz/` over it, and runs a campaign of programs whose workers import that checkout as
`tcomp`: generator and oracles need nothing of it but `tcomp.compile`, the backend of `torch.compile`, and the class of its parse errors.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tcomp.cli.fuzz import UNITS
from tcomp.fuzz.campaign.campaign import Budget, Campaign
from tcomp.fuzz.campaign.process import WorkerError
from tcomp.fuzz.campaign.report import write_reports

ROOT = Path(__file__).resolve().parent.parent


def make_tree(commit: str, folder: Path) -> Path:
    """A checkout of a commit of this repository, with this tree's fuzzer in it."""
    tree = folder / "tree"
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True).stdout
    tree.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    overlay = tree / "fuzz"
    if overlay.exists():
        overlay.rename(tree / "fuzz.old")
    overlay.symlink_to(ROOT / "fuzz")
    return tree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="fb482c3", help="the commit whose compiler is examined (%(default)s)")
    parser.add_argument("--time", default="10m", help="how long: 90s, 10m, 2h (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other programs")
    parser.add_argument("--folder", type=Path, help="the campaign's folder; by default a temporary one that stays")
    parser.add_argument("--reduce", type=float, default=60.0, help="seconds to reduce what is found first in a bucket (%(default)s)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fuzz-old-"))
    seconds = float(options.time[:-1]) * UNITS[options.time[-1]]
    with tempfile.TemporaryDirectory() as scratch:
        tree = make_tree(options.commit, Path(scratch))
        budget, limits = Budget(seconds), {"seconds": 60.0, "reducing": options.reduce}
        campaign = Campaign(folder, budget, seed=options.seed, layers=("programs",), tree=tree, **limits)
        try:
            campaign.run()
        except WorkerError as error:
            print(error, file=sys.stderr)
            return 2
    buckets = list(campaign.buckets.known.values())
    write_reports(folder, campaign.state, buckets)
    print((folder / "report.md").read_text())
    return 1 if buckets else 0


if __name__ == "__main__":
    sys.exit(main())
