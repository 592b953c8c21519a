"""What more or less money gives: a table and a picture of the options that no other one beats."""

import numpy as np
import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import SLO, Catalogue, HostingPlan, Prices, Workload, plan
from mme_sdk.planning.advice.simulated import figures, simulate_layout


@pytest.fixture(scope="module")
def shared() -> HostingPlan:
    return plan(
        Workload.zipf(120, rate=4.0),
        catalogue=Catalogue.uniform(memory_mb=200, service_ms=20, load_seconds=1.0),
        slo=SLO(p99=2.5),
        prices=Prices({"ml.m5.large": 0.115, "ml.r5.large": 0.151}, currency="USD"),
        requests=3000,
    )


def test_for_some_more_no_request_is_cold(shared: HostingPlan) -> None:
    table = shared.pareto()
    assert table["cost"].is_monotonic_increasing
    assert (np.diff(table["cold rate"].to_numpy()) < 0).all()
    none = table.to_dict("records")[-1]
    more = none["cost"] - shared.best.cost
    assert none["cold rate"] == 0.0
    assert none["compared with the advice"] == f"{more:,.0f} USD more a month: no request is cold"
    assert table["compared with the advice"].tolist().count("the advice") == 1
    # The dearest row is the cheapest shared endpoint without a cold request: every cheaper one has some.
    for kind, price in shared.prices.items():
        count = int((none["cost"] / 730.0 - 1e-9) // price)
        layout = shared.best.layout.__class__(mode="shared", instance_type=kind, count=count)
        seen = simulate_layout(shared.search, layout, requests=shared.requests, seed=shared.seed)
        assert seen is not None
        assert figures(seen, SLO()).cold_rate > 0.0


def test_every_row_is_what_its_simulation_says(shared: HostingPlan) -> None:
    for option in shared._frontier("cold_rate"):
        assert option.simulated == figures(shared.simulate(option), shared.search.slo)


def test_no_row_is_beaten_in_latency_either(shared: HostingPlan) -> None:
    table = shared.pareto("p95")
    rows = table.to_dict("records")
    others = [each["p95"] for each in rows if each["compared with the advice"] != "the advice"]
    assert (np.diff(others) < 0).all()


def test_a_budget_ends_the_table(shared: HostingPlan) -> None:
    budget = float(shared.pareto()["cost"].iloc[-1]) - 1.0
    bound = plan(
        shared.workload, catalogue=Catalogue.uniform(memory_mb=200), slo=SLO(p99=2.5), prices=shared.prices,
        requests=1000, budget=budget,
    )  # fmt: skip
    table = bound.pareto()
    assert max(table["cost"].tolist()) <= budget
    assert min(table["cold rate"].tolist()) > 0.0


@pytest.mark.parametrize("width", [8.0, 4.5])
def test_the_picture_shows_every_row(shared: HostingPlan, width: float) -> None:
    table = shared.pareto()
    figure = shared.plot_pareto(width=width)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert [each.get_text() for each in axes.texts] == [str(number + 1) for number in range(len(table))]
    legend = axes.get_legend()
    assert legend is not None
    labels = [each.get_text() for each in legend.get_texts()]
    for number, hosting in enumerate(table["hosting"], start=1):
        assert labels[number - 1].startswith(f"{number}  {hosting}: ")
    assert {"the advice", "meets the SLO", "does not meet the SLO"} < set(labels)
    assert axes.get_xlabel() == "USD per month"
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1 + 1


def test_an_unknown_measure_is_refused(shared: HostingPlan) -> None:
    with pytest.raises(InvalidInputError, match="there is no measure 'p42'"):
        shared.pareto("p42")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="width must be"):
        shared.plot_pareto(width=0.5)
