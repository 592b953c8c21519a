"""Measure the CPU and wall time of InvokeEndpoint: mme_sdk, boto3, aiobotocore, sagemaker's Predictor, a raw socket.

Each client runs in a separate process, so that its CPU time can be measured and it can use another virtual environment.
The clients take turns within a round. A figure is the median over the rounds. A ratio is the median of the ratio to
boto3 with default settings in the same round.

    python benchmarks/invoke.py --out docs/benchmarks                    # all cases, some minutes
    python benchmarks/invoke.py --quick                                  # the four main cases
    python benchmarks/invoke.py --python aiobotocore=/venv/bin/python --python sagemaker-predictor=/venv2/bin/python
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import trustme

HERE = Path(__file__).parent
BASE = "boto3"
RIVALS = (
    BASE,
    "boto3-tuned",
    "aiobotocore",
    "sagemaker-predictor",
    "boto3-accelerated",
    "mme",
    "mme-dict",
    "mme-array",
    "mme-hook",
    "mme-async",
    "mme-async-uvloop",
    "mme-transport",
    "mme-transport-async-uvloop",
    "floor",
)
OURS = (
    "boto3-accelerated",
    "mme",
    "mme-dict",
    "mme-array",
    "mme-hook",
    "mme-async",
    "mme-async-uvloop",
    "mme-transport",
    "mme-transport-async-uvloop",
)
ELSEWHERE = (
    "aiobotocore",
    "sagemaker-predictor",
)  # they run only if --python names an interpreter that has them installed
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDBENCHMARK",
    "AWS_SECRET_ACCESS_KEY": "s" * 40,
    "AWS_SESSION_TOKEN": "t" * 300,
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@attrs.frozen
class Case:
    """One workload.

    Attributes:
        tls: Whether the connection uses TLS.
        size: Size of the body in bytes.
        concurrency: Number of simultaneous calls.
        delay: Seconds from a request to its response.
    """

    tls: bool
    size: int
    concurrency: int
    delay: float = 0.0

    @property
    def title(self) -> str:
        size = {200: "200 B", 10_000: "10 kB", 1_000_000: "1 MB"}.get(self.size, f"{self.size} B")
        wire = "TLS" if self.tls else "plain"
        delay = f", {self.delay * 1000:.0f} ms away" if self.delay else ""
        return f"{wire}, {size}, {self.concurrency} at a time{delay}"


QUICK = [Case(True, 200, 1), Case(True, 200, 64), Case(False, 1_000_000, 1), Case(False, 200, 64, 0.01)]
FULL = [Case(tls, size, width) for tls in (True, False) for size in (200, 10_000, 1_000_000) for width in (1, 8, 64)]
SMOKE = [Case(True, 200, 2, 0.001)]


@attrs.frozen
class Sample:
    """CPU and wall seconds of one call."""

    cpu: float
    wall: float


class Worker:
    """The process of one client."""

    def __init__(
        self, name: str, python: str, url: str, environment: dict[str, str], tracer: Sequence[str] = ()
    ) -> None:
        command = [*tracer, python, str(HERE / "invoke_rival.py"), name, url]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.name = name

    def ready(self) -> None:
        if self._read() != "ready":
            raise SystemExit(f"{self.name} did not start")

    def run(self, case: Case, calls: int) -> Sample:
        share = max(calls // case.concurrency, 1)
        job = {"calls": share * case.concurrency, "concurrency": case.concurrency, "size": case.size}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._read())
        return Sample(answer["cpu"] / job["calls"], answer["wall"] / job["calls"])

    def _read(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self._process.wait()}")
        return line.strip()

    def close(self) -> None:
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()


@contextlib.contextmanager
def sink(case: Case, certificate: Path) -> Iterator[str]:
    """Run the server in a separate process; yield its URL."""
    command = [sys.executable, str(HERE / "invoke_sink.py"), "--delay", str(case.delay)]
    command += ["--cert", str(certificate)] if case.tls else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http{'s' if case.tls else ''}://localhost:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


def surroundings(folder: Path) -> tuple[Path, dict[str, str]]:
    """Write a certificate to a folder. Return its path, and the environment of a client that trusts it."""
    authority = trustme.CA()
    bundle, certificate = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(str(bundle))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return certificate, environment | KEYS | {"AWS_CA_BUNDLE": str(bundle), "PYTHONPATH": str(HERE.parent)}


def measure(
    cases: list[Case], rivals: dict[str, str], *, rounds: int, seconds: float
) -> dict[Case, dict[str, list[Sample]]]:
    """Measure every client with every workload, in turns."""
    found: dict[Case, dict[str, list[Sample]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        certificate, environment = surroundings(Path(folder))
        for case in cases:
            with sink(case, certificate) as url, contextlib.ExitStack() as stack:
                workers = []
                for name, python in rivals.items():
                    workers.append(Worker(name, python, url, environment))
                    stack.callback(workers[-1].close)
                for worker in workers:
                    worker.ready()
                warm = {worker.name: worker.run(case, max(50, 3 * case.concurrency)) for worker in workers}
                least = 20 * case.concurrency
                calls = {name: int(min(max(seconds / one.wall, least), 20_000)) for name, one in warm.items()}
                seen: dict[str, list[Sample]] = {worker.name: [] for worker in workers}
                for _ in range(rounds):
                    for worker in workers:
                        seen[worker.name].append(worker.run(case, calls[worker.name]))
                found[case] = seen
            print(table(case, seen), flush=True)
    return found


def ratio(seen: dict[str, list[Sample]], name: str, field: str) -> float:
    """Return boto3's figure divided by that of a client, as the median over the rounds."""
    return statistics.median(
        getattr(base, field) / getattr(one, field) for base, one in zip(seen[BASE], seen[name], strict=True)
    )


def table(case: Case, seen: dict[str, list[Sample]]) -> str:
    lines = [f"### {case.title}", "", "| | CPU µs | CPU × | wall µs | wall × | calls/s |", "|---|--:|--:|--:|--:|--:|"]
    for name, samples in seen.items():
        cpu = statistics.median(one.cpu for one in samples)
        wall = statistics.median(one.wall for one in samples)
        lines.append(
            f"| {name} | {cpu * 1e6:.0f} | {ratio(seen, name, 'cpu'):.1f} | {wall * 1e6:.0f}"
            f" | {ratio(seen, name, 'wall'):.1f} | {1 / wall:,.0f} |"
        )
    return "\n".join([*lines, ""])


def write(found: dict[Case, dict[str, list[Sample]]], out: Path, rounds: int) -> None:
    """Write the tables and the plot."""
    import botocore

    out.mkdir(parents=True, exist_ok=True)
    machine = (
        f"{os.cpu_count()} cores (load average {os.getloadavg()[0]:.0f} at the end), "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"botocore {botocore.__version__}"
    )
    text = [
        "# CPU and wall time of a call",
        "",
        f"Written by `benchmarks/invoke.py` on {machine}, {rounds} rounds. The figures are medians of the time of one",
        "call. × is the ratio to boto3 with default settings in the same round. The server is a process on the same",
        "machine; wall times include its work.",
        "",
        "`mme` is `endpoint.invoke`, the call that users make, and `mme-async` the same on the event loop: 50 models",
        "in turn, bytes as payload, the answer decoded from JSON, as by `boto3` with `json.loads`. `mme-dict` and",
        "`mme-array` send a dict and an array, which boto3 cannot; `mme-hook` has one hook that does nothing.",
        "`mme-transport` is the transport alone, beneath `endpoint.invoke`. `floor` is a raw socket with a request",
        "that was built before, neither signed nor parsed: no client can be faster.",
        "",
        "![CPU per call](invoke.png)",
        "",
        *(table(case, seen) for case, seen in found.items()),
    ]
    (out / "invoke.md").write_text("\n".join(text), encoding="utf-8")
    plot(found, out / "invoke.png")


def plot(found: dict[Case, dict[str, list[Sample]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [case for case in found if case.size != 10_000 and case.concurrency != 8 and (case.tls or case.delay)]
    figure, axes = plt.subplots(len(shown), 1, figsize=(8, 1.9 * len(shown)), squeeze=False, layout="constrained")
    for axis, case in zip(axes[:, 0], shown, strict=True):
        seen = found[case]
        values = [1e6 * statistics.median(one.cpu for one in samples) for samples in seen.values()]
        bars = axis.barh(list(seen), values, color=["#2a7" if name in OURS else "#888" for name in seen])
        axis.bar_label(bars, [f"{value:.0f} µs, {ratio(seen, name, 'cpu'):.1f} ×" for name, value in
                              zip(seen, values, strict=True)], padding=3, fontsize=7)  # fmt: skip
        axis.invert_yaxis()
        axis.set_title(case.title, fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        axis.margins(x=0.15)
    axes[-1, 0].set_xlabel("CPU per call, µs", fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for invoke.md and invoke.png")
    parser.add_argument("--quick", action="store_true", help="the four main cases only")
    parser.add_argument("--smoke", action="store_true", help="two seconds, to check that it runs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.15, help="seconds of each client in each round")
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, help="measure these clients and boto3")
    parser.add_argument("--python", action="append", default=[], metavar="RIVAL=PATH", help="interpreter of a client")
    options = parser.parse_args()
    pythons = dict(one.split("=", 1) for one in options.python)
    wanted = options.rivals or [name for name in RIVALS if name not in ELSEWHERE or name in pythons]
    rivals = {name: pythons.get(name, sys.executable) for name in RIVALS if name in {*wanted, BASE}}
    cases = SMOKE if options.smoke else QUICK if options.quick else [*FULL, QUICK[-1]]
    rounds, seconds = (2, 0.02) if options.smoke else (options.rounds, options.seconds)
    found = measure(cases, rivals, rounds=rounds, seconds=seconds)
    if options.out is not None:
        write(found, options.out, rounds)


if __name__ == "__main__":
    main()
