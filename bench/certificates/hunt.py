"""`python -m scorebench.bench.certificates.hunt`: certify every mutant, say which are caught, exit 1 below the mark."""

import sys

import torch

import scorebench.solvers.registry  # noqa: F401  (it registers the methods)

from .mutants import hunt, mutants

MARK = 29 / 30  # of the bugs must be caught


def main() -> int:
    torch.set_num_threads(1)
    wanted, caught = mutants(), 0
    for mutant, certificate in hunt(wanted):
        failed = [verdict.check for verdict in certificate.verdicts if verdict.passed is False]
        caught += bool(failed)
        print(f"{'caught' if failed else 'MISSED'}  {mutant.id}: {mutant.about}  [{', '.join(failed[:3])}]", flush=True)
    print(f"{caught} of {len(wanted)} caught")
    return 0 if caught >= MARK * len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
