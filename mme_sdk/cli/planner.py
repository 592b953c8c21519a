"""`mme plan`: the cheapest hosting for a traffic trace."""

from __future__ import annotations

import click

from mme_sdk.cli.common import Shell, command
from mme_sdk.cli.exit_codes import NOT_MET

__all__ = ["add_to"]


def add_to(root: click.Group) -> None:
    """Add the command.

    Args:
        root: The root of the commands.
    """

    @command(root, "plan", exits=(NOT_MET,))
    @click.option("--catalogue", type=click.Path(exists=True), help="CSV or Parquet file of the models.")
    @click.option("--memory-mb", type=float, default=100.0, show_default=True, help="Size without a catalogue, MiB.")
    @click.option("--service-ms", type=float, default=20.0, show_default=True, help="Time of a request, ms.")
    @click.option("--load-seconds", type=float, default=1.0, show_default=True, help="Time to load a model, s.")
    @click.option("--prices", type=click.Path(exists=True), help="Price file. Default: indicative prices.")
    @click.option("--p95", type=float, help="Limit of the p95 latency, seconds.")
    @click.option("--p99", type=float, help="Limit of the p99 latency, seconds.")
    @click.option("--warm-p95", type=float, help="Limit of the p95 latency of models in memory, seconds.")
    @click.option("--cold-p95", type=float, help="Limit of the p95 latency of models that load, seconds.")
    @click.option("--budget", type=float, help="Largest cost per month, in the currency of the prices.")
    @click.option("--cold-rate", type=float, help="Limit of the share of cold requests, 0 to 1.")
    @click.argument("trace", type=click.Path(exists=True, dir_okay=False))
    def plan(
        shell: Shell,
        catalogue: str | None,
        memory_mb: float,
        service_ms: float,
        load_seconds: float,
        prices: str | None,
        p95: float | None,
        p99: float | None,
        warm_p95: float | None,
        cold_p95: float | None,
        budget: float | None,
        cold_rate: float | None,
        trace: str,
    ) -> int:
        """Find the cheapest hosting for TRACE, a CSV or Parquet file with the columns time and model."""
        from mme_sdk.planning import SLO, Catalogue, Workload, load_prices
        from mme_sdk.planning import plan as find

        models = (
            Catalogue.from_table(catalogue)
            if catalogue
            else Catalogue.uniform(memory_mb=memory_mb, service_ms=service_ms, load_seconds=load_seconds)
        )
        found = find(
            Workload.from_trace(trace),
            catalogue=models,
            slo=SLO(p95=p95, p99=p99, cold_rate=cold_rate, warm_p95=warm_p95, cold_p95=cold_p95),
            budget=budget,
            prices=load_prices(prices),
        )
        options = found.to_frame().to_dict("records") if shell.out.as_json else []
        shell.out.result({"feasible": found.feasible, "options": options}, found.report())
        return 0 if found.feasible else NOT_MET
