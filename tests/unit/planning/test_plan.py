"""The advice: right on cases whose answer is known, clear where there is none."""

import numpy as np
import pandas as pd
import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import (
    SLO,
    Assumptions,
    Catalogue,
    ModelProfile,
    Prices,
    Workload,
    instance_types,
    load_prices,
    plan,
)
from mme_sdk.planning.__main__ import main
from mme_sdk.planning.advice import explain
from mme_sdk.planning.advice.demand import Demand, fleet_config
from mme_sdk.planning.advice.estimate import estimate
from mme_sdk.planning.advice.layout import DedicatedEndpoint, HostingLayout
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.advice.shared import download_seconds
from mme_sdk.planning.advice.simulated import simulate_layout
from mme_sdk.planning.simulation import HIT, Deploy
from tests.unit.planning.typed import arrivals, present

PRICES = {"ml.m5.large": 0.115, "ml.m5.xlarge": 0.23, "ml.r5.large": 0.151, "ml.c5.xlarge": 0.204}
MODEL = Catalogue.uniform(memory_mb=100, service_ms=20, load_seconds=1.0)


@pytest.fixture(scope="module")
def many_rare():
    """300 models, few requests: what multi-model endpoints are for."""
    prices = Prices(PRICES, currency="EUR")
    return plan(Workload.zipf(300, rate=5.0), catalogue=MODEL, slo=SLO(p99=2.5), prices=prices, requests=16_000)


@pytest.fixture(scope="module")
def charts(many_rare):
    return many_rare.plot()


def test_many_rarely_used_models_share_an_endpoint_and_it_says_why(many_rare):
    best = many_rare.best
    assert many_rare.feasible
    assert best.layout.mode == "shared"
    assert best.simulated.requests > 10_000
    assert best.p99 <= 2.5
    assert best.layout.count >= 2
    text = " ".join(best.why)
    assert "One endpoint for each model would cost" in text
    assert "GiB" in text
    assert best.cost == pytest.approx(730 * PRICES[best.layout.instance_type] * best.layout.count)
    dedicated = next(each for each in many_rare.options if each.layout.mode == "dedicated")
    assert dedicated.cost == pytest.approx(730 * 300 * 0.115)


def test_formula_and_simulation_agree_on_the_best(many_rare):
    best = many_rare.best
    assert best.estimate.cold_rate == pytest.approx(best.simulated.cold_rate, abs=0.02)
    assert best.estimate.p50 == pytest.approx(best.simulated.p50, rel=0.05)


@pytest.mark.parametrize(
    ("load", "profile", "kind", "count"),
    [
        (Workload.zipf(600, exponent=0.8, rate=30.0), {"memory_mb": 50, "load_seconds": 0.2}, "ml.m5.large", 3),
        (Workload.zipf(1000, exponent=0.6, rate=2.0), {"memory_mb": 150, "load_seconds": 1.5}, "ml.m5.2xlarge", 3),
        (Workload.zipf(300, rate=20.0), {"memory_mb": 60, "service_ms": 150, "service_cv": 1.0}, "ml.m5.xlarge", 2),
    ],
    ids=["quick loads", "mostly from S3", "busy vCPUs"],
)
def test_quantiles_by_formula_are_those_of_the_simulation(load, profile, kind, count):
    demand, types = Demand(load, Catalogue.uniform(**profile)), instance_types()
    layout = HostingLayout(mode="shared", instance_type=kind, count=count)
    found = estimate(layout, demand, types, dict(load_prices()), SLO(), Assumptions(), draws=100_000)
    search = LayoutSearch(demand, types, dict(load_prices()), SLO(), Assumptions())
    seen = present(simulate_layout(search, layout, requests=60_000, seed=1))
    assert found.cold_rate == pytest.approx(seen.cold_rate, abs=0.01)
    assert [found.p50, found.p95, found.p99] == pytest.approx(seen.quantile(0.5, 0.95, 0.99), rel=0.06)


def test_cheaper_options_were_refused_for_a_reason(many_rare):
    for option in many_rare.options:
        if option.cost < many_rare.best.cost:
            assert option.blockers


def test_few_busy_models_that_must_be_quick_get_endpoints_of_their_own():
    found = plan(
        Workload.from_rates({"a": 60.0, "b": 55.0}),
        catalogue=Catalogue.uniform(memory_mb=9000, service_ms=40, load_seconds=60.0),
        slo=SLO(p99=0.5, survive_failure=True),
        prices={"ml.m5.xlarge": 0.23},
        assumptions=Assumptions(minimum_dedicated=2),
        requests=20_000,
    )
    assert found.best.layout.mode == "dedicated"
    assert found.best.dedicated_models == ("a", "b")
    assert found.warm_order == ()
    spec = found.best.dedicated_spec(
        "a", name="a", artifact="s3://bucket/a.tar.gz", image="1.dkr.ecr.eu-west-1.amazonaws.com/x:1",
        role="arn:aws:iam::123456789012:role/r",
    )  # fmt: skip
    assert spec.mode == "SingleModel"
    with pytest.raises(InvalidInputError, match="no shared endpoint"):
        found.best.spec(name="a", models="s3://b/p/", image="i", role="r")
    with pytest.raises(InvalidInputError, match="no shared endpoint"):
        found.simulate(timeline=[Deploy(at=1.0)])
    assert found.simulate().quantile(0.99) == (found.best.p99,)


def test_a_few_hot_models_apart_and_the_tail_shared_is_found_where_it_pays():
    rates = {f"hot-{n}": 40.0 for n in range(2)} | {f"cold-{n}": 0.002 for n in range(300)}
    profiles = {
        name: ModelProfile(memory_bytes=6 << 30, disk_bytes=1 << 30, service_seconds=0.02)
        for name in rates
        if "hot" in name
    }
    profiles |= {name: ModelProfile(memory_bytes=50 << 20, disk_bytes=50 << 20) for name in rates if "cold" in name}
    found = plan(
        Workload.from_rates(rates), catalogue=profiles, slo=SLO(p99=0.5), requests=30_000,
        prices={"ml.m5.large": 0.115, "ml.m5.xlarge": 0.23},
    )  # fmt: skip
    hybrid = [each for each in found.options if each.layout.mode == "hybrid"]
    assert hybrid
    assert set(hybrid[0].dedicated_models) <= {"hot-0", "hot-1"}
    assert len(hybrid[0].shared_models) + len(hybrid[0].dedicated_models) == 302


def test_models_called_once_need_no_cache_and_the_sign_is_seen():
    found = plan(
        Workload.zipf(3000, exponent=0.0, rate=0.5),
        catalogue=Catalogue.uniform(memory_mb=500, service_ms=20, load_seconds=2.0),
        slo=SLO(p99=20.0),
        prices={"ml.m5.xlarge": 0.23},  # four vCPUs, so four loads at a time without a cache
        requests=5_000,
    )
    shared = next(each for each in found.options if each.layout.mode == "shared")
    assert shared.cold_rate > 0.9
    assert found.best.layout.mode == "uncached"
    assert found.best.cost < shared.cost  # caching nothing leaves more loaders, so fewer instances do
    assert any("a cache would not reduce" in each for each in found.best.why)


def test_an_slo_that_nothing_meets_gives_the_nearest_and_what_blocks_it():
    found = plan(Workload.zipf(50, rate=2.0), catalogue=MODEL, slo=SLO(p50=0.001), prices=PRICES, requests=10_000)
    assert not found.feasible
    assert any("p50 is" in each for each in found.best.blockers)
    assert found.best.why[0].startswith("No option meets the SLO")
    assert "Nearest" in found.report()


def test_one_model():
    found = plan(Workload.from_rates({"only": 1.0}), catalogue=MODEL, prices=PRICES, requests=5_000)
    assert found.feasible
    assert found.best.cost == pytest.approx(730 * 0.115)  # an endpoint of its own is cheaper than two instances


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"catalogue": Catalogue.uniform(memory_mb=900_000)}, "has .* GiB for models"),
        ({"prices": {}}, "no prices"),
        ({"prices": {"ml.unknown": 1.0}}, "no instance type that has a price"),
        ({"instance_types": ["ml.m5.4xlarge"]}, "no price for ml.m5.4xlarge"),
        ({"requests": 10}, "at least 1000, not 10"),
        ({"catalogue": {}}, "has no profile of model"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        plan(Workload.zipf(5), **{"catalogue": MODEL, "prices": PRICES} | arguments)


@pytest.mark.parametrize("bad", [{"p99": 0.0}, {"cold_rate": 2.0}, {"p50": float("nan")}])
def test_slos_that_make_no_sense_are_refused(bad):
    with pytest.raises(InvalidInputError):
        SLO(**bad)


def test_what_ifs_move_the_right_way(many_rare):
    table = many_rare.what_ifs().set_index("case")
    asked = table["cold rate"]
    assert asked["twice the models"] > asked["no change"]
    assert table["loaders"]["half the load time"] < table["loaders"]["no change"]
    assert table["vCPUs"]["twice the traffic"] == pytest.approx(2 * table["vCPUs"]["no change"], rel=0.01)


def test_keeping_rare_models_warm_is_refused_as_a_net_loss_and_busy_ones_are_not():
    """Under LRU memory given to the rare is taken from the busy: the cold rate of the whole rises."""
    load = Workload.zipf(300, rate=5.0)
    found = plan(
        load, catalogue=MODEL, slo=SLO(), prices={"ml.m5.large": 0.115}, assumptions=Assumptions(memory_share=0.5),
        requests=10_000,
    )  # fmt: skip
    before = found.best.estimate.cold_rate
    assert before > 0.02
    rare, busy = load.models[-20:], load.models[:20]
    with pytest.raises(InvalidInputError, match="raises the cold rate of all requests"):
        found.what_if(keep_warm=rare)
    assert found.what_if(bound_by_slo=rare).cold_rate > before
    assert found.what_if(keep_warm=busy).cold_rate < before
    with pytest.raises(InvalidInputError, match="'nobody' is not in the workload"):
        found.what_if(keep_warm=["nobody"])


def test_sensitivity_puts_the_guesses_that_matter_first(many_rare):
    table = many_rare.sensitivity()
    effect = (table["p99 ratio"] - 1).abs().to_numpy()
    assert (np.diff(effect) <= 1e-9).all()
    assert {"half the loader slots", "twice the load time"} <= set(table["case"])


def test_break_even_counts_models_apart(many_rare):
    table = many_rare.break_even()
    assert table["dedicated"].iloc[0] == 0
    assert table["dedicated"].is_monotonic_increasing
    assert table["cost"].iloc[-1] > table["cost"].iloc[0]


def test_warm_order_fills_the_memory_with_what_saves_most(many_rare):
    order = many_rare.warm_order
    assert order[0] == many_rare.workload.models[0]
    assert len(set(order)) == len(order)
    layout = many_rare.best.layout
    memory = {"ml.m5.large": 7, "ml.m5.xlarge": 15, "ml.r5.large": 15, "ml.c5.xlarge": 7}[layout.instance_type]
    room = memory * 0.8 * 2**30 * layout.count
    assert len(order) == min(300, int(room // (100 * 2**20)))


def test_a_spec_for_the_client(many_rare):
    spec = many_rare.best.spec(
        name="scoring", models="s3://ml-models/prod/", image="1.dkr.ecr.eu-west-1.amazonaws.com/mme:1",
        role="arn:aws:iam::123456789012:role/mme",
    )  # fmt: skip
    assert spec.mode == "MultiModel"
    assert spec.variants[0].instance_count == many_rare.best.layout.count


def test_to_look_at(many_rare):
    frame = many_rare.to_frame()
    assert len(frame) == len(many_rare.options)
    assert frame["meets"].iloc[0]
    page = many_rare._repr_html_()
    assert "<table>" in page
    assert "would cost" in page
    assert str(many_rare.best.layout.count) in many_rare.report()


@pytest.mark.parametrize("width", [None, 5.5, 4.0])
def test_every_text_of_a_picture_is_inside_its_axes(many_rare, charts, width):
    figure = charts if width is None else many_rare.plot(width=width)
    figure.draw_without_rendering()
    paper = figure.bbox
    for axes in figure.axes:
        frame = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert frame.x0 - 1 <= box.x0, text.get_text()
            assert box.x1 <= frame.x1 + 1, text.get_text()
            assert frame.y0 - 1 <= box.y0, text.get_text()
            assert box.y1 <= frame.y1 + 1, text.get_text()
        low, high = sorted(axes.get_xlim())
        ticks = [each for each in axes.get_xticklabels() if low <= each.get_position()[0] <= high]
        for part in (axes.title, axes._left_title, axes.get_legend(), *ticks, *axes.get_yticklabels()):
            box = part.get_window_extent()
            assert box.x0 >= 0, part
            assert box.x1 <= paper.x1 + 1, part
    assert "p99 ≤ 2.5 s" in [each.get_text() for each in figure.axes[2].texts]


def test_pictures(many_rare, charts, tmp_path):
    from mme_sdk.planning.plots import _cost_label, timeline

    charts.savefig(tmp_path / "plan.png")
    _, costs, latencies, guesses = charts.axes
    assert [each.get_label() for each in latencies.lines if each.get_color() == "#c0392b"] == [
        str(many_rare.best.layout),
        "the advice, simulated: p50, p95, p99",
    ]
    assert {bar.get_x() for bar in guesses.patches} == {1.0}  # longer to the right, shorter to the left
    modes = {layout.mode for layout, _ in many_rare.estimates if layout.instance_type}
    legend = {each.get_text() for each in costs.get_legend().get_texts()}
    assert modes | {"the advice", "meets the SLO, simulated", "meets it by formula", "does not"} < legend
    assert any(each.startswith("dedicated: ") for each in legend)
    assert costs.get_ylabel() == "EUR per month"
    assert "EUR per month" in many_rare.report()
    assert (_cost_label(""), load_prices().currency) == ("cost per month", "USD")
    written = [each.get_text() for axis in (costs.yaxis, guesses.xaxis) for each in axis.get_ticklabels()]
    assert not any("times" in each for each in written)
    timeline({"as it is": many_rare.simulate(requests=5_000)}, marks={"here": 60.0}).savefig(tmp_path / "time.png")
    for name in ("plan.png", "time.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    with pytest.raises(InvalidInputError, match="width must be"):
        many_rare.plot(width=1.0)


def test_a_trace_is_planned_from_its_own_gaps():
    trace = Workload.zipf(100, rate=5.0, cv=6.0).sample(4000.0, seed=1)
    found = plan(trace, catalogue=MODEL, prices=PRICES, slo=SLO(p95=2.0), requests=20_000)
    poisson = plan(
        Workload.from_rates(dict(zip(trace.models, trace.rates, strict=True))), catalogue=MODEL, prices=PRICES,
        slo=SLO(p95=2.0), requests=20_000,
    )  # fmt: skip
    assert found.feasible
    assert found.best.cost <= poisson.best.cost  # bursts are easier on a cache than Poisson traffic


def test_the_command_prints_a_report(tmp_path, capsys):
    trace = Workload.zipf(40, rate=5.0).sample(2000.0, seed=1)
    pd.DataFrame({"time": trace.times, "model": [trace.models[each] for each in arrivals(trace)[1]]}).to_csv(
        tmp_path / "trace.csv", index=False
    )
    (tmp_path / "prices.csv").write_text("instance_type,usd_per_hour\nml.m5.large,0.115\n")
    arguments = [str(tmp_path / "trace.csv"), "--prices", str(tmp_path / "prices.csv"), "--memory-mb", "100"]
    assert main([*arguments, "--p99", "5", "--plot", str(tmp_path / "plan.png")]) == 0
    out = capsys.readouterr().out
    assert "Advice: shared: 2 x ml.m5.large" in out
    assert "twice the traffic" in out
    assert (tmp_path / "plan.png").exists()
    assert main([*arguments, "--p50", "0.0001"]) == 1
    assert main(["/nowhere.csv"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_warm_and_cold_requests_have_limits_of_their_own():
    found = plan(
        Workload.zipf(300, rate=5.0), catalogue=MODEL, slo=SLO(warm_p95=0.3, cold_p95=1.9), prices=PRICES,
        requests=5_000,
    )  # fmt: skip
    seen = found.simulate()
    counted = slice(seen.skip, None)
    cold = seen.latency[counted][seen.kinds[counted] != HIT]
    assert found.best.cold_p95 == (np.quantile(cold, 0.95) if len(cold) else 0.0) <= 1.9
    assert found.best.warm_p95 <= 0.3
    assert "warm p95 ≤ 0.3 s, cold p95 ≤ 1.9 s" in found.report()
    quick = plan(
        Workload.zipf(300, rate=5.0), catalogue=MODEL, slo=SLO(warm_p95=0.001), prices={"ml.m5.large": 0.115},
        requests=1000,
    )  # fmt: skip
    assert any(each.startswith("warm p95 is") for each in quick.best.blockers)


def test_a_budget_bounds_the_advice():
    load, slo = Workload.zipf(300, rate=5.0), SLO(cold_rate=0.001)
    given = {"catalogue": MODEL, "slo": slo, "prices": {"ml.m5.large": 0.115}, "requests": 2000}
    free = plan(load, **given)
    assert free.feasible
    bound = plan(load, **given, budget=free.best.cost - 1.0)
    assert not bound.feasible
    assert bound.best.cost < free.best.cost
    assert "are cold, over 0.10%" in bound.best.blockers[0]
    assert plan(load, **given, budget=free.best.cost).best.cost == free.best.cost
    with pytest.raises(InvalidInputError, match="budget must be"):
        plan(load, **given, budget=0)


def test_equal_costs_go_to_the_better_p99_then_to_fewer_endpoints():
    found = plan(
        Workload.zipf(40, rate=10.0), catalogue=Catalogue.uniform(memory_mb=50, service_ms=150), slo=SLO(p99=5.0),
        prices={"ml.m5.large": 0.115, "ml.c5.large": 0.115, "ml.m5.xlarge": 0.115}, requests=2000,
    )  # fmt: skip
    tied = [each for each in found.options if each.meets and each.simulated and each.cost == found.best.cost]
    assert len(tied) > 1
    assert [(each.p99, each.kinds) for each in tied] == sorted((each.p99, each.kinds) for each in tied)
    assert found.best.layout.instance_type == "ml.m5.xlarge"


def test_a_rare_download_has_the_network_for_itself():
    kind = instance_types()["ml.m5.large"]
    demand = Demand(Workload.zipf(50, rate=0.001), Catalogue.uniform(memory_mb=1000))
    which = np.arange(50)
    layout = HostingLayout(mode="shared", instance_type="ml.m5.large", count=2)
    seconds = download_seconds(layout, which, demand, kind, Assumptions(s3_gbps=100.0))
    assert seconds == pytest.approx(0.2 + 1000 * 2**20 * 8 / (kind.network_gbps * 1e9), rel=0.02)
    busy = Demand(Workload.zipf(500, exponent=0.0, rate=50.0), Catalogue.uniform(memory_mb=1000))
    shared = download_seconds(layout, np.arange(500), busy, kind, Assumptions(s3_gbps=100.0))
    assert shared == pytest.approx(0.2 + 2 * 1000 * 2**20 * 8 / (kind.network_gbps * 1e9), rel=0.02)


def test_burstable_types_are_marked():
    found = plan(
        Workload.zipf(20, rate=1.0), catalogue=MODEL, prices={"ml.t2.large": 0.1}, requests=1000,
        assumptions=Assumptions(minimum_dedicated=2),
    )  # fmt: skip
    assert any("ml.t2.large is burstable" in each for each in found.best.why)


def test_a_hybrid_is_simulated_as_a_whole():
    load = Workload.from_rates({"hot": 20.0} | {f"cold-{n}": 0.05 for n in range(60)})
    search = LayoutSearch(Demand(load, MODEL), instance_types(), dict(load_prices()), SLO(), Assumptions())
    own = DedicatedEndpoint(0, "ml.m5.large", 1)
    layout = HostingLayout(mode="hybrid", instance_type="ml.m5.large", count=2, dedicated=(own,))
    seen = present(simulate_layout(search, layout, requests=4000, seed=0, timeline=[Deploy(at=1e9)]))
    (asked,) = search.demand.replays(4000, 0, single=True)
    assert len(seen.times) == len(asked.times) + 60  # before them, one request for each shared model fills the caches
    assert len(seen.times) - seen.skip == len(asked.times) - int(0.05 * len(asked.times))
    alone = seen.latency[60:][asked.index == 0]
    arrivals, free, ends = asked.times[asked.index == 0], [0.0, 0.0], []
    sigma = np.sqrt(np.log1p(0.25))
    work = 0.02 * np.exp(sigma * asked.noise[asked.index == 0] - sigma**2 / 2)
    for now, needed in zip(arrivals, work, strict=True):
        free.sort()
        free[0] = max(now, free[0]) + needed
        ends.append(free[0])
    assert alone == pytest.approx(np.asarray(ends) - arrivals)


def test_the_advice_names_the_guess_that_it_depends_on(many_rare):
    rows = many_rare.sensitivity().to_dict("records")
    broken = [row for row in rows if not row["meets the SLO"] or row["p99 ratio"] >= 5.0]
    assert broken
    assert len(broken) < len(rows)
    starts = [f"Fragile: with {row['case']}" for row in broken]
    assert [each.partition(",")[0] for each in many_rare.fragile()] == starts
    assert f"{broken[0]['p99 ratio']:.1f} times as long" in many_rare.fragile()[0]
    for shown in (many_rare.report(), many_rare._repr_html_()):
        assert all(each.partition(" (")[0] in shown for each in many_rare.fragile())
    slow = {"case": "less", "p99 ratio": 45.2, "p99": 4.0, "meets the SLO": True, "blocked by": "", "may exceed": ""}
    for risk, said in (
        ("", "."),
        ("p99 may be 5.0 s, over 4.5 s", "; with other seeds, p99 may be 5.0 s, over 4.5 s."),
    ):
        lines = explain.fragile(many_rare.best, pd.DataFrame([{**slow, "may exceed": risk}]))
        assert lines[0].endswith(f"→ 4.00 s); the SLO is still met{said}")


def test_a_cheaper_option_that_seems_to_meet_the_slo_is_explained():
    found = plan(
        Workload.zipf(300, exponent=0.6, rate=5.0), catalogue=MODEL, slo=SLO(p99=1.5), prices={"ml.m5.large": 0.115},
        requests=4000,
    )  # fmt: skip
    cheaper = [each for each in found.options if each.cost < found.best.cost and each.simulated]
    assert cheaper
    nearest = max(cheaper, key=lambda each: each.cost)
    assert f"{nearest.layout} costs less ({nearest.cost:,.0f}) and does not meet the SLO: " in found.best.why[1]


@pytest.mark.parametrize(
    ("name", "gib", "size", "said"),
    [
        ("ml.m5.large", None, 16e9, "16 GB (AWS's table of 2020)"),
        ("ml.c6i.large", None, 8e9, "8 GB (a guess)"),
        ("ml.m5.large", 50.0, 50 * 2**30, "50 GiB (as the assumptions say)"),
        ("ml.m5d.large", 50.0, 75e9, None),  # local storage
    ],
)
def test_volumes_are_those_of_aws_or_said_to_be_a_guess(name, gib, size, said):
    given = Assumptions(volume_gib=gib)
    assert fleet_config(instance_types()[name], 1, given).volume_bytes == size
    load = Workload.zipf(100, rate=1.0)
    found = plan(load, catalogue=MODEL, prices={name: 0.1}, assumptions=given, requests=1000)
    reported = [each for each in found.best.why if "a volume of" in each]
    assert reported == ([] if said is None else [f"Each shared instance is taken to have a volume of {said}."])
