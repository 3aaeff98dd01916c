"""The adversary as a program.

    PYTHONPATH=tests/elector python -m laws.attack --machine systolic --law work
    PYTHONPATH=tests/elector python -m laws.attack --evaluations 100000

It ends with 1 if a violation beyond the tolerance was found that known.csv does not list.
"""

from __future__ import annotations

import argparse
import sys
import time

from laws.adversary import attack
from laws.bounds import known
from laws.statements import LAWS
from laws.subjects import subjects


def main() -> int:
    """Attack the machines and laws that were asked for, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machine", action="append", choices=[*subjects()])
    parser.add_argument("--law", action="append", choices=[*LAWS])
    parser.add_argument("--axis", default="", help="one axis only, such as workload.batch")
    parser.add_argument("--evaluations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=3, help="violations shown for each law")
    asked = parser.parse_args()
    broken = 0
    for name in asked.machine or subjects():
        for law in asked.law or LAWS:
            subject, began = subjects()[name], time.perf_counter()
            axes = attack(subject, LAWS[law], asked.evaluations, asked.seed, asked.axis)
            bad = [w for w in axes if w.excess > 0]
            new = [w for w in bad if not known(subject, law, w.axis)]
            broken += len(new)
            print(
                f"{name:16} {law:10} {asked.evaluations:8} pairs, {len(bad)} of {len(axes)} axes "
                f"broken, {len(new)} of them not known, {time.perf_counter() - began:.0f} s",
                flush=True,
            )
            for worst in (new or bad)[: asked.show]:
                print(f"    {worst}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
