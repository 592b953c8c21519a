"""Measure what users pay, beside the goals of this project, and take the warm call apart.

One run measures imports, the first call, and the warm call of `endpoint.invoke` on an idle machine and on a busy one
(one process for each core computes without end). The rivals take turns within a round. A figure is the median of the
rounds, and its spread reaches from the lowest to the highest.

The profile shows what each layer of a warm call adds: a raw TLS socket, the signature, the parsing of the response, the
connection pool with its time-outs, the policy of `endpoint.invoke`, and the decoding of the answer. System calls are
counted by strace where it is installed.

    python benchmarks/goals.py                          # about four minutes
    python benchmarks/goals.py --out docs/benchmarks    # and write goals.md and goals.png there
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import first_call
import invoke

ONE, MANY = invoke.Case(True, 200, 1), invoke.Case(True, 200, 64)
CLIENTS = (
    "boto3", "mme", "mme-transport", "floor", "mme-async-uvloop", "mme-transport-async-uvloop", "floor-async-uvloop",
)  # fmt: skip
LAYERS = {
    "floor": "raw TLS socket, request built before",
    "socket-signed": "signature",
    "socket-parsed": "parsing of the response",
    "mme-transport": "connection pool, time-outs, errors",
    "mme-undecoded": "policy of `endpoint.invoke`",
    "mme": "decoding of the answer (JSON)",
}
COUNTED = ("floor", "mme-transport", "mme", "boto3")
CALLS_COUNTED = 500
# The first edition (commit 5664747) in the same rows, as a ratio to boto3 on an idle machine.
BEFORE = {
    "import": "1.3–1.8",
    "lambda": "2.0–2.3",
    "expiring": "2.0–2.3",
    "one": "5.5–6.1 ×",
    "threads": "5.0–5.6 ×",
    "tasks": "10–12.6 ×",
}


@attrs.frozen
class Row:
    """One row of the table of goals.

    Attributes:
        key: Name of the row in `BEFORE`.
        title: What the user does.
        goal: The goal, as text.
        least: The ratio of the goal: the least if more is better, else the largest.
        idle: Ratios of the rounds on an idle machine: CPU of boto3 divided by ours, or ours by boto3's for first calls.
        busy: The same on a busy machine.
        faster: Whether a larger ratio is better.
    """

    key: str
    title: str
    goal: str
    least: float
    idle: list[float]
    busy: list[float]
    faster: bool = True

    def cell(self, ratios: list[float]) -> str:
        ordered, sign = sorted(ratios), " ×" if self.faster else ""
        digits = 1 if self.faster else 2
        middle, low, high = (f"{one:.{digits}f}" for one in (statistics.median(ordered), ordered[0], ordered[-1]))
        return f"{middle}{sign} ({low}–{high})"

    def met(self) -> str:
        best = [statistics.median(ratios) for ratios in (self.idle, self.busy)]
        good = [one >= self.least if self.faster else one <= self.least for one in best]
        return "yes" if all(good) else "no" if not any(good) else "idle only" if good[0] else "busy only"


@contextlib.contextmanager
def load(busy: bool) -> Iterator[None]:
    """Keep every core busy, or none."""
    processes = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range((os.cpu_count() or 1) * busy)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def first_calls(rounds: int) -> dict[str, list[float]]:
    """Return CPU ratios to boto3 of the import and of the first call, by case."""
    found = {}
    with tempfile.TemporaryDirectory() as name, first_call.server(Path(name)) as (port, bundle):
        for case, environment in first_call.environments(Path(name), port, bundle).items():
            if case == "imports":
                base, ours = "import boto3", "from mme_sdk import MMEClient, EndpointSpec"
                programs = {key: first_call.IMPORTS[key] for key in (base, ours)}
            else:
                base, ours = "boto3", "mme"
                programs = {key: first_call.PROGRAMS[key] for key in (base, ours)}
            for code in programs.values():
                first_call.look_into(code, environment)
            seen = first_call.in_turns(programs, environment, rounds)
            found[case] = [one.cpu / other.cpu for one, other in zip(seen[ours], seen[base], strict=True)]
            if case == "imports":
                found["import ms"] = [1000 * one.cpu for one in seen[ours]]
    return found


Seen = dict[invoke.Case, dict[str, list[invoke.Sample]]]


def against(seen: dict[str, list[invoke.Sample]], name: str) -> list[float]:
    """Return boto3's CPU divided by a client's, for each round."""
    return [base.cpu / one.cpu for base, one in zip(seen["boto3"], seen[name], strict=True)]


def rows_of(calls: dict[bool, dict[str, list[float]]], warm: dict[bool, Seen]) -> list[Row]:
    """Return the table."""

    def first(key: str, title: str, case: str, goal: float) -> Row:
        return Row(key, title, f"≤ {goal}", goal, calls[False][case], calls[True][case], faster=False)

    def call(key: str, title: str, case: invoke.Case, name: str, goal: float) -> Row:
        ratios = {busy: against(warm[busy][case], name) for busy in (False, True)}
        return Row(key, title, f"≥ {goal:.0f} ×", goal, ratios[False], ratios[True])

    return [
        first("import", "`from mme_sdk import MMEClient, EndpointSpec`, to boto3's import", "imports", 0.43),
        first("lambda", "from `python` to the first reply, credentials in the environment", "environment", 0.55),
        first("expiring", "the same, credentials that botocore renews", "expiring", 0.8),
        call("one", "warm `endpoint.invoke`, one caller", ONE, "mme", 10),
        call("threads", "the same, 64 threads", MANY, "mme", 9),
        call("tasks", "warm `await endpoint.invoke`, 64 tasks, uvloop", MANY, "mme-async-uvloop", 25),
    ]


def goals_table(rows: list[Row]) -> str:
    lines = [
        "| what a user does | goal | first edition, idle | now, idle | now, busy | met |",
        "|---|--:|--:|--:|--:|---|",
    ]
    lines += [
        f"| {row.title} | {row.goal} | {BEFORE[row.key]} | {row.cell(row.idle)} | {row.cell(row.busy)} | {row.met()} |"
        for row in rows
    ]
    return "\n".join(lines)


def micro(samples: list[invoke.Sample]) -> float:
    return 1e6 * statistics.median(one.cpu for one in samples)


def layers_table(layers: dict[bool, dict[str, list[invoke.Sample]]]) -> str:
    """Return what each layer adds: the median of the differences within a round."""
    lines = ["| layer | idle, µs | sum | boto3 / sum | busy, µs | sum | boto3 / sum |", "|---|--:|--:|--:|--:|--:|--:|"]
    below = None
    for name, title in LAYERS.items():
        cells = []
        for busy in (False, True):
            seen = layers[busy]
            added = micro(seen[name]) if below is None else 1e6 * statistics.median(
                one.cpu - other.cpu for one, other in zip(seen[name], seen[below], strict=True)
            )  # fmt: skip
            cells += [f"{added:.0f}", f"{micro(seen[name]):.0f}", f"{statistics.median(against(seen, name)):.1f}"]
        lines.append(f"| {title} | {' | '.join(cells)} |")
        below = name
    whole = [f" | {micro(layers[busy]['boto3']):.0f} | 1.0" for busy in (False, True)]
    return "\n".join([*lines, f"| boto3, whole call |{whole[0]} |{whole[1]} |"])


def gap(title: str, least: float, seen: dict[str, list[invoke.Sample]], ours: str, transport: str, floor: str) -> str:
    """Say how far a call is from its goal, and which part of it no policy can save."""
    allowed = micro(seen["boto3"]) / least
    return (
        f"- {title}: the goal allows {allowed:.0f} µs. The call takes {micro(seen[ours]):.0f} µs. Its "
        f"transport takes {micro(seen[transport]):.0f} µs, and a socket with an unsigned request built before "
        f"{micro(seen[floor]):.0f} µs, at which boto3 / floor is {statistics.median(against(seen, floor)):.1f}."
    )


def gaps(rows: list[Row], warm: dict[bool, Seen]) -> str:
    """Return a line for each goal of a warm call and each state of the machine."""
    threads = ("mme", "mme-transport", "floor")
    tasks = ("mme-async-uvloop", "mme-transport-async-uvloop", "floor-async-uvloop")
    cases = {
        "one": ("one caller", ONE, threads),
        "threads": ("64 threads", MANY, threads),
        "tasks": ("64 tasks", MANY, tasks),
    }
    lines = []
    for row in rows:
        if row.key in cases:
            title, case, clients = cases[row.key]
            lines += [
                gap(f"{title}, {'busy' if busy else 'idle'}", row.least, warm[busy][case], *clients) for busy in warm
            ]
    return "\n".join(lines)


def system_calls() -> str:
    """Return a table of the system calls of one warm call, by strace."""
    program = shutil.which("strace")
    if program is None:
        return "strace is not installed: system calls were not counted."
    counts: dict[str, dict[str, float]] = {}
    with prepared(ONE) as (url, environment), tempfile.TemporaryDirectory() as folder:
        for name in COUNTED:
            totals = []
            for calls in (0, CALLS_COUNTED):
                file = Path(folder, f"{name}-{calls}")
                worker = invoke.Worker(name, sys.executable, url, environment, [program, "-f", "-c", "-o", str(file)])
                with contextlib.closing(worker):
                    worker.ready()
                    worker.run(ONE, 100)
                    if calls:
                        worker.run(ONE, calls)
                found = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", file.read_text(), re.MULTILINE)
                totals.append({call: int(count) for count, call in found if call != "total"})
            added = {call: (count - totals[0].get(call, 0)) / CALLS_COUNTED for call, count in totals[1].items()}
            counts[name] = {call: count for call, count in added.items() if count >= 0.05}
    names = sorted(
        {call for one in counts.values() for call in one},
        key=lambda call: -max(one.get(call, 0) for one in counts.values()),
    )
    lines = [f"| system call | {' | '.join(COUNTED)} |", "|---|" + "--:|" * len(COUNTED)]
    lines += [f"| {call} | {' | '.join(f'{counts[name].get(call, 0):.2f}' for name in COUNTED)} |" for call in names]
    return "\n".join([*lines, f"| all | {' | '.join(f'{sum(counts[name].values()):.2f}' for name in COUNTED)} |"])


@contextlib.contextmanager
def prepared(case: invoke.Case) -> Iterator[tuple[str, dict[str, str]]]:
    """Run the server; yield its URL and the environment of a client."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, environment = invoke.surroundings(Path(folder))
        with invoke.sink(case, certificate) as url:
            yield url, environment


def plot(rows: list[Row], layers: dict[bool, dict[str, list[invoke.Sample]]], path: Path) -> None:
    """Draw the goals and the layers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    warm = [row for row in rows if row.faster]
    for at, row in enumerate(warm):
        for offset, ratios, color in ((-0.17, row.idle, "#2a7"), (0.17, row.busy, "#27a")):
            middle = statistics.median(ratios)
            left.barh(at + offset, middle, 0.3, color=color)
            left.errorbar(
                middle, at + offset, xerr=[[middle - min(ratios)], [max(ratios) - middle]], color="#333", lw=1
            )
        left.plot([row.least] * 2, [at - 0.4, at + 0.4], color="#c33", lw=2)
    left.set_yticks(range(len(warm)), ["one caller", "64 threads", "64 tasks, uvloop"])
    left.invert_yaxis()
    left.set_xlabel("CPU of boto3 / CPU of endpoint.invoke; red: goal; green: idle, blue: busy", fontsize=8)
    left.set_title("Warm call, TLS, 200 B, 50 models", fontsize=9, loc="left")
    palette: Any = mpl.colormaps["viridis"]
    for at, busy in enumerate((False, True)):
        start, below = 0.0, 0.0
        for number, (name, title) in enumerate(LAYERS.items()):
            whole = micro(layers[busy][name])
            added = max(whole - below, 0.0)
            label = title.replace("`", "") if not busy else None
            right.barh(at, added, 0.5, left=start, color=palette(number / len(LAYERS)), label=label)
            start, below = start + added, whole
    right.set_yticks([0, 1], ["idle", "busy"])
    right.invert_yaxis()
    right.set_xlabel("CPU of one call, µs", fontsize=8)
    right.set_title("What each layer adds, one caller", fontsize=9, loc="left")
    right.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.2, help="seconds of each client in each round")
    parser.add_argument("--out", type=Path, help="folder for goals.md and goals.png")
    options = parser.parse_args()
    began = os.getloadavg()[0]
    calls, warm, layers = {}, {}, {}
    every = dict.fromkeys((*CLIENTS, *LAYERS), sys.executable)
    for busy in (False, True):
        with load(busy):
            calls[busy] = first_calls(options.rounds)
            warm[busy] = invoke.measure([ONE], every, rounds=options.rounds, seconds=options.seconds)
            layers[busy] = warm[busy][ONE]
    for busy in (False, True):  # last, since its 64 threads raise the load of the machine
        with load(busy):
            some = dict.fromkeys(CLIENTS, sys.executable)
            warm[busy] |= invoke.measure([MANY], some, rounds=options.rounds, seconds=options.seconds)
    rows = rows_of(calls, warm)
    imports = [statistics.median(calls[busy]["import ms"]) for busy in (False, True)]
    import botocore

    implementation = platform.python_implementation()
    text = [
        "# Goals, and where the time of a call goes",
        "",
        f"Written by `benchmarks/goals.py` on {os.cpu_count()} cores, load average {began:.1f} at the begin,",
        f"{implementation} {platform.python_version()}, botocore {botocore.__version__}, rounds: {options.rounds}.",
        "Busy means that one more process for each core computes without end. Figures are CPU time against boto3 in",
        "the same round: median (lowest–highest). The figures of the first edition are those of commit 5664747.",
        "",
        goals_table(rows),
        "",
        f"The import takes {imports[0]:.0f} ms of CPU idle and {imports[1]:.0f} ms busy (goal: 60 ms).",
        "",
        "![Goals and layers](goals.png)",
        "",
        "## What each layer adds to a warm call",
        "",
        "TLS, 200 bytes, one caller. A layer's figure is the median of its differences to the layer above it in the",
        "table within a round. `boto3 / sum` says what ratio a client could reach that stopped there.",
        "",
        layers_table(layers),
        "",
        "A loop that calls the signer or the parser alone, without waiting, takes a third to a fifth of these figures:",
        "after each wait the processor's caches hold other code and data. The signature hashes the body, as",
        "InvokeEndpoint demands, and a request that names session token, model and invocation id.",
        "",
        "## The distance to each goal of a warm call",
        "",
        gaps(rows, warm),
        "",
        "The first call with credentials that botocore renews imports `botocore.session`, and that imports the client,",
        "the documentation and the waiters of botocore. This takes more than half of its time; boto3 pays the same.",
        "",
        "## System calls of one warm call",
        "",
        "One `poll` waits for the response, and no other call waits. OpenSSL reads the head and the body of one TLS",
        "record. `getsockopt` asks whether the idle connection is still open, without giving up the GIL.",
        "",
        system_calls(),
        "",
    ]
    page = "\n".join(text)
    print(page)
    if options.out is not None:
        (options.out / "goals.md").write_text(page, encoding="utf-8")
        plot(rows, layers, options.out / "goals.png")


if __name__ == "__main__":
    main()
