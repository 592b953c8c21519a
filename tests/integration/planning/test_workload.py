"""Workloads, catalogues and prices: read, made up, refused."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.metrics import EndpointMetrics, Series
from mme_sdk.planning import Catalogue, ModelProfile, Prices, Workload, instance_types, load_prices
from mme_sdk.planning.analysis import che
from mme_sdk.planning.synthetic import azure_rates
from mme_sdk.types import ModelVersion

ROWS = {"time": [0.0, 1.0, 2.0, 4.0], "model": ["a", "b", "a", "a"]}


def test_a_trace_from_wherever_users_have_it(tmp_path):
    frame = pd.DataFrame(ROWS)
    frame.to_csv(tmp_path / "trace.csv", index=False)
    frame.to_parquet(tmp_path / "trace.parquet")
    import pyarrow

    for source in (ROWS, frame, pyarrow.table(ROWS), tmp_path / "trace.csv", str(tmp_path / "trace.parquet")):
        load = Workload.from_trace(source)
        assert load.models == ("a", "b")
        assert load.index.tolist() == [0, 1, 0, 0]
        assert load.duration == pytest.approx(4.0 * 4 / 3)
        assert load.rate == pytest.approx(4 / load.duration)


def test_timestamps_and_service_times_are_understood():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [(start + timedelta(seconds=second)).isoformat() for second in (0, 30, 60)]
    load = Workload.from_trace(
        {"at": moments, "name": ["a", "a", "b"], "ms": [1, 2, 3]}, time="at", model="name", service="ms"
    )
    assert load.times.tolist() == [0.0, 30.0, 60.0]
    assert load.service.tolist() == [1.0, 2.0, 3.0]


def test_a_trace_out_of_order_is_sorted_and_says_so():
    load = Workload.from_trace({"time": [5.0, 1.0, 3.0], "model": ["x", "y", "y"], "service": [0.5, 0.1, 0.3]})
    assert load.times.tolist() == [0.0, 2.0, 4.0]
    assert [load.models[each] for each in load.index] == ["y", "y", "x"]
    assert load.service.tolist() == [0.1, 0.3, 0.5]
    assert "sorted" in load.notes[0]


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        ({"time": [], "model": []}, "empty"),
        ({"when": [1.0], "model": ["a"]}, "no column 'time'"),
        ({"time": [0.0, float("nan")], "model": ["a", "a"]}, "nan for 'time' in row 1"),
        ({"time": [0.0, float("inf")], "model": ["a", "a"]}, "inf for 'time' in row 1"),
        ({"time": [0.0, 1.0], "model": ["a", None]}, "has no model in row 1"),
        ({"time": ["noon", "later"], "model": ["a", "a"]}, "'noon' for 'time' in row 0"),
        ({"time": [0.0, 1.0], "model": ["a", "a"], "service": [1.0, -1.0]}, "negative 'service' in row 1"),
        ({"time": [1.0, 1.0], "model": ["a", "b"]}, "the same time"),
        ({"time": [1.0, 1.0], "model": ["a"]}, "cannot be read as a table"),
        (7, "is not a table"),
        ("/nowhere/trace.csv", "does not exist"),
    ],
)
def test_traces_that_make_no_sense_are_refused(trace, message):
    with pytest.raises(InvalidInputError, match=message):
        Workload.from_trace(trace)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({}, "no models"),
        ({"a": -1.0}, "rate of 'a'"),
        ({"a": float("nan")}, "rate of 'a'"),
        ({"a": 0.0}, "every rate is 0"),
    ],
)
def test_rates_that_make_no_sense_are_refused(rates, message):
    with pytest.raises(InvalidInputError, match=message):
        Workload.from_rates(rates)


def test_azure_like_popularity_has_the_published_shape():
    """Shahrad et al., ATC 2020: 45 % of the apps at most once an hour, the top 18.6 % make 99.6 % of the calls."""
    rates = azure_rates(200_000, seed=1)
    assert np.mean(rates <= 1 / 3600) == pytest.approx(0.45, abs=0.02)
    assert rates[: int(0.186 * len(rates))].sum() / rates.sum() == pytest.approx(0.996, abs=0.01)


def test_samples_are_seeded_and_have_the_rates_bursts_and_waves_asked_for():
    load = Workload.zipf(20, rate=5.0, cv=3.0)
    one, two, other = load.sample(20_000, seed=1), load.sample(20_000, seed=1), load.sample(20_000, seed=2)
    assert (one.times == two.times).all()
    assert len(one.times) != len(other.times)
    assert len(one.times) == pytest.approx(100_000, rel=0.05)
    assert Workload.from_trace({"time": one.times, "model": one.index}).cv == pytest.approx(3.0, rel=0.1)
    wave = Workload.from_rates({"a": 1.0}, diurnal=0.8).sample(86_400, seed=1)
    quarters = np.histogram(wave.times, bins=[0, 43_200, 86_400])[0]
    assert quarters[0] / quarters[1] == pytest.approx((1 + 0.8 * 2 / np.pi) / (1 - 0.8 * 2 / np.pi), rel=0.05)


def test_twice_the_traffic_and_twice_the_models():
    trace = Workload.zipf(10, rate=5.0).sample(1000, seed=1)
    for load in (Workload.zipf(10, rate=5.0), trace):
        assert load.scaled(traffic=2.0).rate == pytest.approx(2 * load.rate)
        more = load.scaled(models=2.0)
        assert len(more.models) == 20
        assert more.rate == pytest.approx(load.rate)
        assert len(load.scaled(models=0.5).models) == 5
        assert load.scaled(models=0.5).rate == pytest.approx(load.rate)
    twice = trace.scaled(models=2.0)
    assert len(twice.times) / twice.duration == pytest.approx(len(trace.times) / trace.duration)
    assert (np.diff(twice.times) >= 0).all()


def test_a_part_of_the_models_keeps_its_requests():
    trace = Workload.zipf(10, rate=5.0).sample(1000, seed=1)
    part = trace.only([3, 1])
    assert part.models == (trace.models[3], trace.models[1])
    assert len(part.times) == int(np.isin(trace.index, [1, 3]).sum())
    assert (np.bincount(part.index) == [np.sum(trace.index == 3), np.sum(trace.index == 1)]).all()


def metrics(**series):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    names = [
        "invocations", "cache_hit", "model_latency", "model_latency_p95", "overhead", "loading_wait", "downloading",
        "loading", "loads", "unloads", "loaded_models", "cpu", "memory", "disk", "errors_4xx", "errors_5xx",
        "model_errors",
    ]  # fmt: skip
    made = {name: Series((at,), (series[name],)) if name in series else Series((), ()) for name in names}
    return EndpointMetrics(endpoint="e", variant="v", start=at, end=at + timedelta(hours=1), period=3600, **made)


def test_from_metrics_the_popularity_is_fitted_to_the_hit_ratio():
    true = Workload.zipf(400, exponent=1.1, rate=10.0)
    hit = float(che(true.rates, np.ones(400), 120.0) @ true.rates / true.rate)
    load = Workload.from_metrics(metrics(invocations=36_000.0, cache_hit=hit, loaded_models=60.0), 400, instances=2)
    assert load.rates == pytest.approx(true.rates, rel=0.02)
    assert "1.10" in load.notes[0]
    assert Workload.from_metrics(metrics(invocations=36_000.0), ["x", "y"], exponent=0.5).models == ("x", "y")
    with pytest.raises(InvalidInputError, match="no cache hits"):
        Workload.from_metrics(metrics(invocations=36_000.0), 400)
    with pytest.raises(InvalidInputError, match="no invocations"):
        Workload.from_metrics(metrics(), 400)


def test_catalogues(tmp_path):
    pd.DataFrame(
        {"model": ["a", "b"], "memory_bytes": [10, 20], "disk_bytes": [5, 6], "load_seconds": [1.5, np.nan]}
    ).to_csv(tmp_path / "c.csv", index=False)
    listed = Catalogue.from_table(tmp_path / "c.csv")
    assert listed["a"].load_seconds == 1.5
    assert listed["b"].load_seconds == 1.0
    with pytest.raises(InvalidInputError, match="has no profile of model 'c'"):
        listed["c"]
    assert listed.scaled(load=2.0)["a"].load_seconds == 3.0

    class Registry:
        def list(self):
            yield ModelVersion(name="a", version="1", target_model="a/1.tar.gz", uri="s3://b/a/1.tar.gz", size=2**20)
            yield ModelVersion(name="b", version="1", target_model="b/1.tar.gz", uri="s3://b/b/1.tar.gz")

    found = Catalogue.from_registry(Registry(), unpacked=2.0, in_memory=1.5)
    assert list(found) == ["a/1.tar.gz"]
    assert found["a/1.tar.gz"].memory_bytes == 3 * 2**20
    with pytest.raises(InvalidInputError, match="memory_bytes"):
        ModelProfile(memory_bytes=-1, disk_bytes=1)
    with pytest.raises(InvalidInputError, match="needs model"):
        Catalogue.from_table({"model": ["a"]})


def test_prices_from_a_mapping_a_csv_and_the_price_list(tmp_path):
    assert load_prices({"ml.m5.large": 0.1})["ml.m5.large"] == 0.1
    (tmp_path / "p.csv").write_text("# ours\ninstance_type,usd_per_hour\nml.m5.large,0.2\n")
    assert load_prices(tmp_path / "p.csv")["ml.m5.large"] == 0.2

    def product(sku, name, component="Hosting", region="eu-west-1"):
        return {sku: {"sku": sku, "attributes": {"instanceName": name, "component": component, "regionCode": region}}}

    def term(sku, usd):
        rate = {f"{sku}.x.y": {"unit": "Hrs", "pricePerUnit": {"USD": usd}}}
        return {sku: {f"{sku}.x": {"priceDimensions": rate}}}

    listing = {
        "publicationDate": "2026-01-01",
        "products": product("A", "ml.m5.large") | product("B", "ml.m5.large", "Training"),
        "terms": {"OnDemand": term("A", "0.128") | term("B", "9.9")},
    }
    (tmp_path / "index.json").write_text(json.dumps(listing))
    found = load_prices(tmp_path / "index.json")
    assert dict(found) == {"ml.m5.large": 0.128}
    assert "2026-01-01" in found.source
    listing["products"] |= product("C", "ml.m5.large", region="us-east-1")
    (tmp_path / "index.json").write_text(json.dumps(listing))
    with pytest.raises(InvalidInputError, match="2 regions"):
        load_prices(tmp_path / "index.json")
    assert load_prices(tmp_path / "index.json", region="eu-west-1")["ml.m5.large"] == 0.128


@pytest.mark.parametrize("given", [{}, {"ml.m5.large": 0.0}, {"ml.m5.large": float("nan")}, "/nowhere.csv"])
def test_prices_that_make_no_sense_are_refused(given):
    with pytest.raises(InvalidInputError):
        load_prices(given)


def test_broken_price_files_are_refused(tmp_path):
    for name, text in (
        ("a.csv", "x,y\n1,2\n"),
        ("b.csv", "instance_type,usd_per_hour\nml.m5.large,dear\n"),
        ("c.json", "{"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InvalidInputError):
            load_prices(tmp_path / name)


def test_every_shipped_type_has_an_indicative_price_and_makes_sense():
    shipped, prices = instance_types(), load_prices()
    assert prices.indicative
    assert isinstance(prices, Prices)
    assert set(prices) <= set(shipped)
    for kind in shipped.values():
        assert kind.vcpus >= 1
        assert kind.memory_gib >= 2


def test_without_its_packages_planning_names_the_extra():
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from mme_sdk.errors import MissingExtraError\n"
        "try:\n    import mme_sdk.planning\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "planning needs pandas" in said
    assert "mme-sdk[planning]" in said
