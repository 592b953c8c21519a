"""Measure the planner's accuracy and speed, and compare it with simpy in the same run.

    python benchmarks/planner.py            everything, about a minute
    python benchmarks/planner.py --short    a quarter of the requests

Accuracy: each formula is compared with an exact simulation of the same traffic. Speed: simpy, pure Python and numba run
alternately on the same requests. The figures are medians of CPU time; only the ratios are comparable between computers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import t as student
from simpy_rival import run_simpy

from mme_sdk.planning import SLO, Assumptions, Catalogue, Workload, instance_types, load_prices, plan
from mme_sdk.planning.advice.demand import Demand
from mme_sdk.planning.advice.estimate import estimate
from mme_sdk.planning.advice.layout import HostingLayout
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.advice.simulated import simulate_layout
from mme_sdk.planning.analysis import (
    Poisson,
    aet_miss_ratio,
    che,
    miss_ratio_at,
    renewal_che,
    stack_distances,
    two_levels,
)
from mme_sdk.planning.simulation import FleetConfig, Traffic, simulate

ONES = np.ones(1000)


def row(
    name: str, predicted: float, seen: float, bound: float, *, relative: bool = False, unsure: float | None = None
) -> None:
    error = predicted / seen - 1.0 if relative else predicted - seen
    shown = f"{error:+.1%}" if relative else f"{error:+.4f}"
    verdict = "" if abs(error) <= bound else f"   over {bound:.0%}" if relative else f"   over {bound}"
    band = "" if unsure is None else f" ±{unsure:.1%}"
    print(f"  {name:<58} {predicted:>9.4f} {seen:>9.4f} {shown:>9}{band}{verdict}")


def residency(requests: int) -> None:
    print(f"\nMiss ratios, Zipf 0.9, 1000 models, 100 fit ({requests:,} requests): formula, exact, error")
    rate = 100.0
    base = Workload.zipf(1000, exponent=0.9, rate=rate)
    weights = base.rates / base.rate
    for cv in (1.0, 2.0, 4.0, 8.0):
        trace = Workload.zipf(1000, exponent=0.9, rate=rate, cv=cv).sample(requests / rate, seed=3)
        index = trace.index
        distances = stack_distances(index)
        seen = float(miss_ratio_at(distances[len(index) // 5 :], np.array([100.0]))[0])
        formula = che(base.rates, ONES, 100.0) if cv == 1.0 else renewal_che(base.rates, ONES, 100.0, cv=cv)
        row(f"{'Che' if cv == 1.0 else 'renewal-Che'}, CV {cv:g}", 1.0 - float(weights @ formula), seen, 0.002)
        whole = float(miss_ratio_at(distances, np.array([100.0]))[0])
        row(f"AET from the trace, CV {cv:g}", float(aet_miss_ratio(index, np.array([100.0]))[0]), whole, 0.002)
        if cv == 8.0:
            row(
                "  (Poisson formula at CV 8, for comparison)",
                1.0 - float(weights @ che(base.rates, ONES, 100.0)),
                seen,
                1,
            )
    count = requests // 4
    trace = base.sample(count / rate, seed=5)
    zero = np.full(1000, 1e-9)
    one = np.ones(1000, dtype=int)
    traffic = Traffic(
        times=trace.times, models=trace.index, service=np.full(len(trace.times), 1e-9), disk=one, memory=one,
        download=zero, load=zero,
    )  # fmt: skip
    found = simulate(traffic, FleetConfig(instances=1, workers=1, memory_bytes=100, volume_bytes=300), skip=0.2)
    shares = [float(weights @ part) for part in two_levels(Poisson(base.rates), ONES, ONES, 100.0, 300.0)]
    for name, predicted, seen in zip(
        ("memory", "volume", "S3"), shares, (found.share(0), found.share(2), found.share(3)), strict=True
    ):
        row(f"two levels: {name}", predicted, seen, 0.005)


STABLE: list[tuple[str, Workload, dict[str, float], str, int]] = [
    ("much memory", Workload.zipf(400, rate=10), {"memory_mb": 150}, "ml.r5.xlarge", 2),
    ("little memory", Workload.zipf(400, rate=4), {"memory_mb": 150}, "ml.m5.xlarge", 2),
    ("steep", Workload.zipf(1000, exponent=1.2, rate=20), {"memory_mb": 40, "load_seconds": 0.5}, "ml.m5.xlarge", 2),
    ("flat", Workload.zipf(1000, exponent=0.6, rate=2), {"memory_mb": 150}, "ml.m5.2xlarge", 3),
    ("busy", Workload.zipf(300, rate=20), {"memory_mb": 60, "service_ms": 150, "service_cv": 1.0}, "ml.m5.xlarge", 2),
    ("Azure-like", Workload.azure(500, rate=20, seed=1), {"memory_mb": 150}, "ml.m5.xlarge", 2),
    ("quick", Workload.zipf(600, exponent=0.8, rate=30), {"memory_mb": 50, "load_seconds": 0.2}, "ml.m5.large", 3),
    ("large fleet", Workload.zipf(2000, rate=60), {"memory_mb": 100, "load_seconds": 0.5}, "ml.m5.xlarge", 8),
]


def latencies(requests: int, replicas: int = 8) -> None:
    print(
        f"\nLatency quantiles in eight stable layouts: formula, mean of {replicas} simulations, error, "
        "± half the mean's 95 % interval"
    )
    known, prices = instance_types(), dict(load_prices())
    types = {name: known[name] for name in prices}
    for name, load, profile, kind, count in STABLE:
        demand = Demand(load, Catalogue.uniform(**({"service_ms": 30, "load_seconds": 1.5} | profile)))
        layout = HostingLayout(mode="shared", instance_type=kind, count=count)
        found = estimate(layout, demand, types, prices, SLO(), Assumptions(), draws=1_000_000)
        search = LayoutSearch(demand, types, prices, SLO(), Assumptions())
        runs = []
        for seed in range(1, replicas + 1):
            seen = simulate_layout(search, layout, requests=requests, seed=seed)
            runs.append((seen.cold_rate, *seen.quantile(0.5, 0.95, 0.99)))
        cold, *quantiles = np.mean(runs, axis=0)
        row(f"{name}: cold rate", found.cold_rate, cold, 0.005)
        spread = student.ppf(0.975, replicas - 1) * np.std(runs, axis=0, ddof=1)[1:] / replicas**0.5
        for label, predicted, actual, unsure in zip(
            ("p50", "p95", "p99"), (found.p50, found.p95, found.p99), quantiles, spread, strict=True
        ):
            row(f"{name}: {label}", predicted, actual, 0.05, relative=True, unsure=unsure / actual)


def timed(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def speed(requests: int, rounds: int) -> None:
    print(f"\nSpeed on {requests:,} requests, medians of {rounds} alternating rounds of CPU time")
    cases = {
        "one instance": (1000, 1.2, FleetConfig(instances=1, workers=4, memory_bytes=700, volume_bytes=2000)),
        "four instances": (1000, 0.9, FleetConfig(instances=4, workers=4, memory_bytes=150, volume_bytes=2000)),
    }
    for name, (models, exponent, config) in cases.items():
        trace = Workload.zipf(models, exponent=exponent, rate=100.0).sample(requests / 100.0, seed=1)
        one = np.ones(models, dtype=int)
        traffic = Traffic(
            times=trace.times,
            models=trace.index,
            service=np.random.default_rng(2).exponential(0.02, len(trace.times)),
            disk=one,
            memory=one,
            download=np.full(models, 0.02),
            load=np.full(models, 0.02),
        )
        rivals: dict[str, Callable[[], object]] = {
            "simpy": partial(run_simpy, traffic, config),
            "python": partial(simulate, traffic, config, engine="python"),
            "numba": partial(simulate, traffic, config, engine="numba"),
        }
        rivals["numba"]()  # compile before the measurement
        spent: dict[str, list[float]] = {engine: [] for engine in rivals}
        for _ in range(rounds):
            for engine, run in rivals.items():
                spent[engine].append(timed(run))
        rival, ours = run_simpy(traffic, config), simulate(traffic, config, skip=0.0)
        apart = float(np.max(np.abs(rival[0] - ours.latency)))
        print(f"  {name}: {ours.cold_rate:.2%} cold; no latency is more than {apart:.1g} s from that in simpy")
        slowest = statistics.median(spent["simpy"])
        for engine, seconds in spent.items():
            median = statistics.median(seconds)
            print(
                f"    {engine:<8} {len(traffic.times) / median:>12,.0f} requests/s   {slowest / median:>6.1f} x simpy"
            )


def scan() -> None:
    print("\nEstimates of 1,000 layouts of 500 models, then a plan with simulations")
    load = Workload.zipf(500, exponent=0.9, rate=15)
    demand = Demand(load, Catalogue.uniform(memory_mb=150, service_ms=30, load_seconds=1.5))
    known, prices = instance_types(), dict(load_prices())
    types = {name: known[name] for name in prices}
    layouts = [
        HostingLayout(mode="shared", instance_type=kind, count=count) for kind in types for count in range(1, 41)
    ]
    start, cpu = time.perf_counter(), time.process_time()
    for layout in layouts[:1000]:
        estimate(layout, demand, types, prices, SLO(p99=2.0), Assumptions())
    found = plan(load, catalogue=demand.catalogue, slo=SLO(p99=2.0))
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    simulated = sum(option.simulated is not None for option in found.options)
    print(f"  1,000 estimates, then a plan ({len(found.estimates)} more estimates, {simulated} options simulated):")
    print(f"  {wall:.1f} s wall, {cpu:.1f} s CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a quarter of the requests")
    part = 4 if parser.parse_args().short else 1
    residency(2_000_000 // part)
    latencies(400_000 // part)
    speed(400_000 // part, rounds=3)
    scan()


if __name__ == "__main__":
    main()
