"""The advice is what its own simulation shows, on random workloads, and better conditions are never worse."""

import attrs
import numpy as np
import pytest

from mme_sdk.planning import SLO, Catalogue, Workload, plan
from mme_sdk.planning.advice import confirm
from mme_sdk.planning.advice.simulated import figures, simulate_layout
from tests.unit.planning.typed import present, simulated

PRICES = {"ml.m5.large": 0.115, "ml.r5.large": 0.151}


def _cases(number):
    rng = np.random.default_rng(9)
    for _ in range(number):
        cv = float(rng.choice([1.0, 1.0, 2.0, 4.0]))
        load = Workload.zipf(int(rng.integers(3, 80)), exponent=rng.uniform(0, 1.2), rate=rng.lognormal(0.5, 1), cv=cv)
        if rng.random() < 0.25:
            load = load.sample(1200.0 / load.rate, seed=int(rng.integers(100)))
        models = Catalogue.uniform(
            memory_mb=float(rng.integers(20, 1500)),
            load_seconds=float(rng.lognormal(0, 0.8)),
            service_ms=float(rng.integers(5, 80)),
        )
        p99, cold = float(rng.uniform(0.3, 8.0)), float(rng.uniform(0.01, 0.6))
        slo = [SLO(p99=p99), SLO(cold_rate=cold), SLO(p95=p99, cold_rate=cold), SLO(p99=p99, survive_failure=True)]
        yield load, models, slo[int(rng.integers(len(slo)))]


def _looser(slo):
    limits = {name: getattr(slo, name) for name in ("p95", "p99", "cold_rate")}
    return attrs.evolve(slo, **{name: min(1.4 * value, 1.0 if name == "cold_rate" else 99.0)
                                for name, value in limits.items() if value is not None})  # fmt: skip


def test_a_looser_slo_is_not_dearer_where_the_formulas_promise_too_much(monkeypatch):
    """With these bursts the simulation refuses all that the formulas find for the looser limit, until tries run out."""
    monkeypatch.setattr(confirm, "_TRIES", 6)
    load, models = Workload.zipf(135, exponent=0.836, rate=1.2287, cv=8.0), Catalogue.uniform(memory_mb=984)
    given = {"catalogue": models, "prices": {"ml.c5.9xlarge": 1.836, "ml.m5.large": 0.115}}
    tight, loose = (plan(load, slo=SLO(p95=p95), requests=1000, max_instances=3, **given) for p95 in (0.443, 1.773))
    assert tight.feasible
    assert loose.feasible
    assert tight.best.layout.mode == "hybrid"
    assert loose.best.cost <= tight.best.cost * (1 + 1e-9)


@pytest.mark.parametrize("number", [4, pytest.param(300, marks=pytest.mark.slow)])
def test_the_advice_holds(number):
    for load, models, slo in _cases(number):
        given = {"catalogue": models, "prices": PRICES, "requests": 1000, "max_instances": 6}
        found = plan(load, slo=slo, **given)
        best, known = found.best, f"{load!r} {models} {slo}: {found.best}"
        seen = figures(found.simulate(), slo)  # with the default assumptions
        assert best.simulated == seen, known
        assert best.simulated == found.what_if().simulated, known
        row = found.to_frame().iloc[0]
        assert (row["cold rate"], row["p99"]) == (best.cold_rate, best.p99), known
        if not best.meets:
            continue
        assert not seen.blockers, known
        looser = plan(load, slo=_looser(slo), **given)
        assert looser.best.meets, known
        assert looser.best.cost <= best.cost * (1 + 1e-9), f"{known} {looser.best}"
        if present(best.headroom) > 1.0:
            held = found.what_if(traffic=present(best.headroom))
            assert held.meets, known
            assert not held.risks, known
        if best.exceeded_at is not None and "near a collapse" not in best.exceeded[0]:
            over = found.what_if(traffic=best.exceeded_at)
            assert (over.blockers or over.risks)[: len(best.exceeded)] == best.exceeded, known
        layout = best.layout
        if layout.instance_type is None:
            continue
        if layout.count > 1:
            fewer = attrs.evolve(layout, count=layout.count - 1)
            again = simulate_layout(found.search, fewer, requests=1000, seed=found.seed)
            assert best.without_one == figures(present(again), slo), known
            assert bool(best.failure) or not present(best.without_one).blockers, known
        more = attrs.evolve(layout, count=layout.count + 1)
        better = [figures(present(simulate_layout(found.search, more, requests=1000, seed=found.seed)), slo)]
        better += [simulated(found.what_if(memory_share=0.96)), simulated(found.what_if(load_time=0.7))]
        for one in better:
            assert one.cold_interval[0] <= seen.cold_interval[1], f"{known} {one}"
            assert one.p99_interval[0] <= seen.p99_interval[1], f"{known} {one}"
