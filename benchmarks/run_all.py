"""Run every benchmark in its short form, and compare the ratios with those of the last committed run.

Times change with the machine and with what else runs on it; ratios between rivals of one run change less. So only
columns of ratios are compared: those whose heading holds a multiplication sign, `ratio` or ` / `. A benchmark that
fails or exceeds its limit is named, and the others go on.

    python benchmarks/run_all.py                 # under ten minutes
    python benchmarks/run_all.py --only growth
    python benchmarks/run_all.py --write         # and keep the ratios in docs/benchmarks/last-run.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

HERE = Path(__file__).parent
KEPT = HERE.parent / "docs" / "benchmarks" / "last-run.json"
# Arguments and limit in seconds of each benchmark; a run of all takes about seven minutes.
BENCHMARKS: dict[str, tuple[list[str], int]] = {
    "first_call": (["--rounds", "3"], 100),
    "invoke": (["--quick", "--rounds", "3"], 200),
    "growth": (["--quick"], 60),
    "local_host": (["--part", "overhead", "--rounds", "3"], 60),
    "registry": (["--quick", "--only", "small", "--rounds", "1"], 80),
    "registry_listing": (["--quick"], 60),
    "cold_start": (["--only", "herds", "--rounds", "2"], 120),
    "planner": (["--short"], 170),
    "recorder": (["--quick"], 40),
}
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+")
RATIO = re.compile(r"×|\bratio\b| / ")


def ratios(text: str) -> dict[str, float]:
    """Return the ratios of the Markdown tables of a text, by heading, row and column."""
    found: dict[str, float] = {}
    heading, columns = "", None
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        if not line.startswith("|"):
            columns = None
            continue
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        if columns is None:
            columns = cells
            continue
        for name, cell in zip(columns[1:], cells[1:], strict=False):
            if RATIO.search(name) and NUMBER.fullmatch(cell.removesuffix(" ×")):
                found[": ".join(part for part in (heading, cells[0], name) if part)] = float(
                    cell.removesuffix(" ×").replace(",", "")
                )
    return found


def run(name: str, arguments: list[str], limit: int) -> tuple[str, str | None]:
    """Return what a benchmark printed, and why it did not end well, if so. Its processes end with it."""
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            text, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                text, _ = process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                text, _ = process.communicate()
            return text, f"did not end within {limit} seconds"
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
    return text, f"ended with status {process.returncode}" if process.returncode else None


def comparison(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> str:
    """Return a table of the ratios now, those of the committed run, and their quotient."""
    lines = ["| figure | committed | now | now ÷ committed |", "|---|--:|--:|--:|"]
    for name, found in now.items():
        for figure, value in found.items():
            old = before.get(name, {}).get(figure)
            quotient = "new" if old is None else f"{value / old:.2f}" if old else "–"
            lines.append(f"| {name}: {figure} | {'–' if old is None else f'{old:g}'} | {value:g} | {quotient} |")
        lines += [
            f"| {name}: {figure} | {old:g} | – | missing |"
            for figure, old in before.get(name, {}).items()
            if figure not in found
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=BENCHMARKS, nargs="+", help="run these benchmarks")
    parser.add_argument("--write", action="store_true", help=f"keep the ratios in {KEPT.relative_to(HERE.parent)}")
    given = parser.parse_args()
    before = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"ratios": {}}
    now: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    began = time.monotonic()
    for name, (arguments, limit) in BENCHMARKS.items():
        if given.only and name not in given.only:
            continue
        print(f"## {name} {' '.join(arguments)}\n", flush=True)
        text, why = run(name, arguments, limit)
        print(text, flush=True)
        if why:
            failed[name] = why
        else:
            now[name] = ratios(text)
    said = f"of {before['date']}, load average {before['load']}" if "date" in before else "(none is committed yet)"
    print(f"## Ratios, beside the committed run {said}\n\n{comparison(now, before['ratios'])}\n")
    load = f"{os.getloadavg()[1]:.0f}"
    print(f"{time.monotonic() - began:.0f} seconds, load average {load} over five minutes.")
    for name, why in failed.items():
        print(f"{name} {why}.")
    if given.write:
        kept = {"date": date.today().isoformat(), "load": load, "ratios": before["ratios"] | now}
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
