"""Score tables on processes, Dask, Ray and Spark against an embedded SageMaker, and compare with the goals.

    make scale                                              # everything, and docs/benchmarks/scale.md
    python benchmarks/scale/main.py --only dask --runs 3    # medians of three runs
    python benchmarks/scale/main.py --only limit hot

Needs the extras `dask`, `ray` and `spark`, psutil, and Java 17 for Spark. Ray listens on all interfaces, so it runs
with its host in a network namespace of its own (`unshare`); where that is not permitted, its rows are left out by name.
Figures are kept in `.cache/scale.json`, so that a run with `--only` renews some of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from endpoint import Setup

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = ROOT / ".cache" / "scale.json"
ENGINES = ("processes", "dask", "ray", "spark")
NAMESPACE = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "ray"]
SHUFFLED = Setup()
LIMITED = Setup(models=20, load=0.05, capacity=40, rate=150.0)
SERVED = Setup(models=8, load=0.05, capacity=16, call=0.1)
KILLED = Setup(models=40, load=0.2, capacity=40)
LARGE = Setup(models=500)
HOT = ["processes", "--rows", "16000", "--models", "8", "--workers", "4", "--rows-per-call", "20", "--concurrency", "4"]
Found = dict[str, Any]


@attrs.frozen
class Case:
    """A job whose figures stand in the table.

    Attributes:
        setup: The endpoint.
        job: The arguments of `job.py`.
        kill_after: Number of answered rows after which a worker is killed.
    """

    setup: Setup
    job: list[str]
    kill_after: int | None = None


def cases() -> dict[str, Case]:
    """Return the jobs by name. The part before the colon is what `--only` takes."""
    found: dict[str, Case] = {}
    for engine in ENGINES:
        rows = ["--rows", "20000", "--models", str(SHUFFLED.models)]
        found[f"{engine}: shuffled"] = Case(SHUFFLED, [engine, *rows])
        some = ["--rows", "8000", "--models", str(KILLED.models), "--rows-per-call", "20", "--buckets", "8"]
        found[f"{engine}: killed"] = Case(KILLED, [engine, *some], kill_after=2600)
    found["limit: 150"] = Case(
        LIMITED, ["processes", "--rows", "6000", "--models", "20", "--workers", "4", "--rows-per-call", "1"]
    )
    found["hot: even"] = Case(SERVED, HOT)
    found["hot: half"] = Case(SERVED, [*HOT, "--hot"])
    found["large: 1,000,000"] = Case(
        LARGE, ["processes", "--rows", "1000000", "--models", str(LARGE.models), "--buckets", "50"]
    )
    return found


def run(case: Case) -> Found:
    """Return the figures of a job, or the reason for which it could not run."""
    given = {"setup": attrs.asdict(case.setup), "job": case.job, "kill_after": case.kill_after}
    command = [sys.executable, str(HERE / "measure.py"), json.dumps(given)]
    if case.job[0] == "ray":
        if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
            return {"left out": "a network namespace is not permitted here"}
        command = [*NAMESPACE, *command]
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
        errors.seek(0)
        if done.returncode:
            return {"left out": (errors.read().strip().splitlines() or ["it failed"])[-1][:200]}
    return {**json.loads(done.stdout.splitlines()[-1]), "load": os.getloadavg()[0]}


def median(runs: list[Found]) -> Found:
    """Return the run with the median time."""
    good = [one for one in runs if "wall" in one]
    if not good:
        return runs[-1]
    middle = statistics.median_low([one["wall"] for one in good])
    return next(one for one in good if one["wall"] == middle)


@attrs.frozen
class Goal:
    """A row of the table.

    Attributes:
        what: What is measured.
        goal: What it should be.
        case: The name of the job.
        shown: Returns the figure of the job, as text.
        met: Returns whether the goal is met.
    """

    what: str
    goal: str
    case: str
    shown: Callable[[Found], str]
    met: Callable[[Found], bool]


def at_most(what: str, limit: float, case: str, figure: Callable[[Found], float]) -> Goal:
    return Goal(what, f"≤ {limit:g}", case, lambda one: f"{figure(one):.2f}", lambda one: figure(one) <= limit)


def of_engine(engine: str) -> list[Goal]:
    models, floor, killed = SHUFFLED.models, SHUFFLED.floor, f"{engine}: killed"
    slowest = 1.3 if engine == "spark" else 1.15
    return [
        at_most(f"{engine}: loads a model", 1.02, f"{engine}: shuffled", lambda one: one["loads"] / models),
        at_most(f"{engine}: the job ÷ the floor", slowest, f"{engine}: shuffled", lambda one: one["wall"] / floor),
        Goal(
            f"{engine}: rows missing and rows twice after a SIGKILL of a worker",
            "0 and 0",
            killed,
            lambda one: f"{one['missing']} and {one['twice']}" if one["killed"] else "none was killed",
            lambda one: bool(one["killed"]) and not one["missing"] and not one["twice"],
        ),
    ]


def goals(found: dict[str, Found]) -> list[Goal]:
    """Return the rows of the table."""
    even = found.get("hot: even", {}).get("wall", float("nan"))
    limited, large = "limit: 150", "large: 1,000,000"
    return [
        *(goal for engine in ENGINES for goal in of_engine(engine)),
        Goal(
            "4 processes at a limit of 150 calls/s: failed rows",
            "0",
            limited,
            lambda one: f"{one['failed']}",
            lambda one: one["failed"] == 0,
        ),
        Goal(
            "the same: calls that were throttled",
            "< 1 %",
            limited,
            lambda one: f"{100 * one['throttled'] / one['sent']:.1f} %",
            lambda one: one["throttled"] < 0.01 * one["sent"],
        ),
        Goal(
            "the same: share of the limit that was used, learned",
            "≥ 90 %",
            limited,
            lambda one: f"{100 * _share(one):.0f} %",
            lambda one: _share(one) >= 0.9,
        ),
        at_most(
            "one model has half of the rows, 4 processes: time ÷ the even time",
            1.3,
            "hot: half",
            lambda one: one["wall"] / even,
        ),
        at_most("1,000,000 rows, 500 models: memory of a worker at the end ÷ at 10 % of the rows", 1.1, large, _growth),
        at_most("the same: the job ÷ the floor", 1.15, large, lambda one: one["wall"] / LARGE.floor),
    ]


def table(found: dict[str, Found]) -> list[str]:
    """Return the table of goals."""
    lines = ["| what is measured | goal | found | met |", "| --- | --: | --: | --- |"]
    for goal in goals(found):
        one = found.get(goal.case, {"left out": "not measured"})
        shown = f"left out: {one['left out']}" if "left out" in one else goal.shown(one)
        met = "–" if "left out" in one else "yes" if goal.met(one) else "no"
        lines.append(f"| {goal.what} | {goal.goal} | {shown} | {met} |")
    return lines


def details(found: dict[str, Found]) -> list[str]:
    """Return a table of what was measured in each job."""
    columns = (
        "job", "s", "s before the first answer", "CPU s in them", "s after the last answer", "loads", "calls",
        "failed rows", "rows called twice or lost", "wrong rows", "MB of a worker, at 10 % and at the end",
        "load average",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", f"| --- {'| --: ' * (len(columns) - 1)}|"]
    for name in cases():
        one = found.get(name)
        if one is None or "left out" in one:
            continue
        memory = " and ".join(f"{one['memory'][share] / 1e6:.0f}" for share in ("10", "100"))
        size = int(cases()[name].job[cases()[name].job.index("--rows") + 1])
        again = one["rows"] - size + (one["failed"] if name.startswith("processes: killed") else 0)
        lines.append(
            f"| {name} | {one['wall']:.1f} | {one['before']:.1f} | {one['cpu_before']:.1f} | {one['after']:.1f} "
            f"| {one['loads']} | {one['calls']} | {one['failed']} | {max(0, again)} | {one['wrong']} | {memory} "
            f"| {one['load']:.1f} |"
        )
    return lines


def _share(one: Found) -> float:
    return float((one["sent"] - one["throttled"]) / one["calling"] / 150.0)


def _growth(one: Found) -> float:
    return float(one["memory"]["100"] / one["memory"]["10"])


PAGE = """# Tables scored in many processes

Written by `make scale` (`benchmarks/scale/main.py`) on {cores} cores; runs of each job: {runs}; the table has medians.
An engine runs on this machine with two workers, where nothing else is said. It shares the cores with the embedded
SageMaker and with all else that runs. The last column of the second table says how many processes wanted a core when
the job ended. If there are more than cores, seconds say more about the machine than about the job. Loads, rows and
memory do not depend on it.

{table}

**Floor.** Loads × the time of a load ÷ the loaders of all instances: no job is faster that loads each model once.
{models} models that load in {load:g} s, {instances} instances with {loaders} loaders, memory for {capacity} models:
{floor:g} s. For {many} models: {large:g} s. The clock starts when the workers of the engine have the rows, each after a
task that changed nothing. It stops when the whole result is in the calling process. So the start of the engine does not
count, and what `score` does before the first request does. The host counts the loads.

**One model with half of the rows.** 16,000 rows, 20 a call. A call takes 0.1 s; each of 4 processes has 4 calls at a
time.

**Killed worker.** 8,000 rows, 40 models, 8 buckets. A process that calls the endpoint gets SIGKILL after 2,600 answered
rows. Dask, Ray and Spark score its part again. An executor of `concurrent.futures` ends with its worker: the rows that
were not scored then have an `OutcomeUnknownError`, and count as failed.

## What each job did

{details}
"""


def page(found: dict[str, Found], runs: int) -> str:
    """Return the page."""
    return PAGE.format(
        cores=os.cpu_count(),
        runs=runs,
        table="\n".join(table(found)),
        details="\n".join(details(found)),
        many=LARGE.models,
        large=LARGE.floor,
        floor=SHUFFLED.floor,
        **attrs.asdict(SHUFFLED),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = sorted({name.partition(":")[0] for name in cases()})
    parser.add_argument("--only", choices=[*cases(), *groups], nargs="+", help="run these")
    parser.add_argument("--runs", type=int, default=1, help="runs of each job")
    parser.add_argument("--write", type=Path, help="file for the page")
    options = parser.parse_args()
    found: dict[str, Found] = json.loads(KEPT.read_text()) if KEPT.exists() and options.only else {}
    for name, case in cases().items():
        if options.only and name not in options.only and name.partition(":")[0] not in options.only:
            continue
        began = time.monotonic()
        found[name] = median([run(case) for _ in range(options.runs)])
        print(f"{name}: {time.monotonic() - began:.0f} s {found[name]}", file=sys.stderr, flush=True)
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(found, indent=1))
    text = page(found, options.runs)
    print(text)
    if options.write is not None:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
