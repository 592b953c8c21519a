"""Measure the CPU time of `import mme_sdk` and of `import boto3`: medians of alternating runs, in ms."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

PROGRAMS = {
    "nothing": "pass",
    "import mme_sdk": "import mme_sdk",
    "from mme_sdk import MMEClient": "from mme_sdk import MMEClient",
    "import boto3": "import boto3",
}


def cpu_ms(code: str) -> float:
    """Return the CPU time of a new interpreter that runs `code`, in ms."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    seen: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for code in PROGRAMS.values():
        cpu_ms(code)  # fill the bytecode and disk caches
    for _ in range(rounds):
        for name, code in PROGRAMS.items():
            seen[name].append(cpu_ms(code))
    empty = statistics.median(seen["nothing"])
    print(f"{'':<32}{'CPU ms':>8}{'above an empty interpreter':>30}")
    for name, values in seen.items():
        median = statistics.median(values)
        print(f"{name:<32}{median:>8.1f}{median - empty:>30.1f}")


if __name__ == "__main__":
    main()
