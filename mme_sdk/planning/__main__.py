"""The command `python -m mme_sdk.planning trace.csv --prices prices.csv`, which prints the report of a plan."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mme_sdk.errors import MMEError
from mme_sdk.planning import SLO, Assumptions, Catalogue, Workload, load_prices, plan

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mme_sdk.planning",
        description="Find the cheapest SageMaker hosting for a traffic trace.",
    )
    parser.add_argument("trace", help="CSV or Parquet file with one row for each request")
    parser.add_argument("--time", default="time", help="column of arrival times (default: %(default)s)")
    parser.add_argument("--model", default="model", help="column of target models (default: %(default)s)")
    parser.add_argument(
        "--service", help="column of the time of each request on a vCPU, seconds (default: service, if it exists)"
    )
    parser.add_argument("--catalogue", help="CSV or Parquet file with the columns model, memory_bytes, disk_bytes, …")
    parser.add_argument(
        "--memory-mb",
        type=float,
        default=100.0,
        help="size of each model without a catalogue, MiB (default: %(default)s)",
    )
    parser.add_argument(
        "--service-ms",
        type=float,
        default=20.0,
        help="time of a request on a vCPU without a catalogue, ms (default: %(default)s)",
    )
    parser.add_argument(
        "--load-seconds",
        type=float,
        default=1.0,
        help="time to load a model without a catalogue, s (default: %(default)s)",
    )
    parser.add_argument(
        "--prices", help="CSV file (instance_type, usd_per_hour) or AWS price list (JSON); default: indicative prices"
    )
    parser.add_argument("--region", help="region to take from a price list that holds several")
    for name in ("p50", "p95", "p99"):
        parser.add_argument(f"--{name}", type=float, help=f"limit of the {name} latency, seconds")
    parser.add_argument("--warm-p95", type=float, help="limit of the p95 latency of models in memory, seconds")
    parser.add_argument("--cold-p95", type=float, help="limit of the p95 latency of models that load, seconds")
    parser.add_argument("--budget", type=float, help="largest cost per month, in the currency of the prices")
    parser.add_argument(
        "--cold-rate", type=float, help="limit of the share of requests that wait while their model loads, 0 to 1"
    )
    parser.add_argument(
        "--survive-failure", action="store_true", help="the limits must also hold after the loss of one instance"
    )
    parser.add_argument("--types", help="instance types to consider, separated by commas (default: all with a price)")
    parser.add_argument(
        "--loader-slots",
        type=int,
        default=2,
        help="number of models that an instance loads at a time (default: %(default)s)",
    )
    parser.add_argument("--plot", help="write the charts to this file (.png, .svg, .pdf)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return 0 if an option meets the SLO, 1 if none does, 2 if an input is not valid."""
    given = _parser().parse_args(arguments)
    try:
        catalogue = (
            Catalogue.from_table(given.catalogue)
            if given.catalogue
            else Catalogue.uniform(
                memory_mb=given.memory_mb, service_ms=given.service_ms, load_seconds=given.load_seconds
            )
        )
        found = plan(
            Workload.from_trace(given.trace, time=given.time, model=given.model, service=given.service),
            catalogue=catalogue,
            slo=SLO(
                p50=given.p50,
                p95=given.p95,
                p99=given.p99,
                warm_p95=given.warm_p95,
                cold_p95=given.cold_p95,
                cold_rate=given.cold_rate,
                survive_failure=given.survive_failure,
            ),
            prices=load_prices(given.prices, region=given.region),
            instance_types=given.types.split(",") if given.types else None,
            assumptions=Assumptions(loader_slots=given.loader_slots),
            budget=given.budget,
            seed=given.seed,
        )
        print(found.report())
        if given.plot:
            found.plot().savefig(Path(given.plot), dpi=120)
    except MMEError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if found.feasible else 1


if __name__ == "__main__":
    sys.exit(main())
