"""Invalid input raises InvalidInputError, whose message names the argument and the rule."""

from typing import Any

import numpy as np
import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning import SLO, Assumptions, Catalogue, ModelProfile, Workload, plan
from mme_sdk.planning.simulation import (
    Autoscale,
    Backoff,
    Crash,
    Deploy,
    FleetConfig,
    LoseInstance,
    NoRetries,
    ScaleOut,
    SingleFlight,
    Traffic,
    simulate,
)

NAN, INF = float("nan"), float("inf")
TEXT: Any = "often"  # where a number belongs
HALF: Any = 1.5  # where a whole number belongs
BEST: dict[str, Any] = {"routing": "best"}
FLOATS: dict[str, Any] = {"workers": 1.0}
LOAD = Workload.zipf(20, rate=2.0)
MODEL = Catalogue.uniform(memory_mb=100)
PRICES = {"ml.m5.large": 0.115, "ml.m5.xlarge": 0.23}
SITE: dict[str, Any] = {"instances": 1, "workers": 1, "memory_bytes": 1, "volume_bytes": 1}
CALLS: dict[str, Any] = {
    "times": [0.0], "models": [0], "service": [0.1], "disk": [1], "memory": [1], "download": [0.1], "load": [0.1],
}  # fmt: skip


def advise(**given):
    return plan(LOAD, **{"catalogue": MODEL, "prices": PRICES, "requests": 1000} | given)


def table(**changed):
    columns = {"model": ["a", "b"], "memory_bytes": [1, 1], "disk_bytes": [1, 1]} | changed
    return Catalogue.from_table(columns)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: Workload.from_rates({"a": TEXT}), "rate of 'a' must be a finite number at least 0, not 'often'"),
        (lambda: Workload.from_rates([1.0, INF]), "rate of 'model-0002'"),
        (lambda: Workload.from_rates([1.0], cv=-1.0), "cv must be"),
        (lambda: Workload.from_rates([1.0], cv=NAN), "cv must be"),
        (lambda: Workload.from_rates([1.0], diurnal=2.0), "diurnal must be .* at most 1, not 2.0"),
        (lambda: Workload.from_rates([1.0], per=0), "per must be"),
        (lambda: Workload.from_trace({"time": [0.0, 1.0], "model": ["a", ""]}), "has no model in row 1"),
        (lambda: Workload.zipf(0), "number of models must be a whole number at least 1, not 0"),
        (lambda: Workload.zipf(HALF), "number of models"),
        (lambda: Workload.zipf(3, rate=NAN), "rate must be"),
        (lambda: Workload.zipf(3, exponent=INF), "exponent must be a finite number"),
        (lambda: Workload.azure(3, rate=-1.0), "rate must be"),
        (lambda: LOAD.sample(INF), "duration must be"),
        (lambda: LOAD.sample(10.0, seed=-1), "seed must be"),
        (lambda: LOAD.scaled(traffic=NAN), "traffic must be"),
        (lambda: LOAD.only([99]), "20 models"),
        (lambda: Catalogue.uniform(memory_mb=TEXT), "memory_mb must be"),
        (lambda: Catalogue.uniform(memory_mb=1, archive_mb=0), "archive_mb must be"),
        (lambda: Catalogue.uniform(memory_mb=1, service_cv=-1), "service_cv must be"),
        (lambda: MODEL.scaled(memory=0), "memory must be"),
        (lambda: ModelProfile(memory_bytes=None, disk_bytes=1), "memory_bytes must be"),
        (lambda: Catalogue.coerce({"a": HALF}), "not a ModelProfile"),
        (lambda: table(memory_bytes=[1, "big"]), "row 1, 'b': .*memory_bytes must be .* not 'big'"),
        (lambda: table(memory_bytes=[1, NAN]), "no memory_bytes of 'b' in row 1"),
        (lambda: table(model=["a", None]), "has no model in row 1"),
        (lambda: table(model=["a", "a"]), "'a' twice"),
        (lambda: table(model=[], memory_bytes=[], disk_bytes=[]), "empty"),
        (lambda: SLO(p99=TEXT), "SLO.p99 must be .* not 'often'"),
        (lambda: SLO(cold_rate=2), "SLO.cold_rate must be .* at most 1, not 2"),
        (lambda: Assumptions(overhead_gib=-1), "overhead_gib must be"),
        (lambda: Assumptions(loader_slots=HALF), "loader_slots must be a whole number"),
        (lambda: Assumptions(peak=0.5), "peak must be"),
        (lambda: advise(slo=1.0), "slo must be of type SLO"),
        (lambda: advise(assumptions={}), "assumptions must be of type Assumptions"),
        (lambda: advise(seed=-1), "seed must be"),
        (lambda: advise(requests=10), "requests must be"),
        (lambda: advise(max_instances=NAN), "max_instances must be"),
        (
            lambda: advise(catalogue=Catalogue.uniform(memory_mb=1, disk_mb=10**7)),
            "GiB on the volume; the type with the largest",
        ),
        (
            lambda: FleetConfig(**SITE | BEST),
            "routing must be one of 'sticky', 'sticky_to_memory', 'scatter', 'random', not 'best'",
        ),
        (lambda: FleetConfig(**SITE | FLOATS), "workers must be a whole number"),
        (lambda: Traffic(**CALLS | {"times": ["noon"]}), "arrays of numbers"),
        (lambda: Traffic(**CALLS | {"times": [[0.0]]}), "shape"),
        (lambda: Traffic(**CALLS | {"models": [0.5]}), "whole numbers"),
        (lambda: Traffic(**CALLS | {"models": [NAN]}), "whole numbers"),
        (lambda: Traffic(**CALLS | {key: [] for key in ("disk", "memory", "download", "load")}), "no models"),
        (lambda: simulate(Traffic(**CALLS), FleetConfig(**SITE), engine=TEXT), "no engine 'often'"),
        (lambda: simulate(Traffic(**CALLS), FleetConfig(**SITE), seed=-1), "seed must be"),
        (lambda: Deploy(at=-1.0), "Deploy.at must be"),
        (lambda: Crash(at=1.0, restart=NAN), "Crash.restart must be"),
        (lambda: LoseInstance(at=1.0, instance=-1), "LoseInstance.instance must be"),
        (lambda: ScaleOut(at=1.0, count=0), "ScaleOut.count must be"),
        (lambda: Autoscale(target=0.0), "Autoscale.target must be"),
        (lambda: Autoscale(target=1.0, minimum=3, maximum=2), "more than its maximum"),
        (lambda: Backoff(attempts=0), "Backoff.attempts must be"),
        (lambda: Backoff(base=-1.0), "Backoff.base must be"),
        (lambda: NoRetries(answer_limit=-1.0), "NoRetries.answer_limit must be"),
        (lambda: SingleFlight(deadline=NAN), "SingleFlight.deadline must be"),
    ],
)
def test_invalid_input_is_named(given, message):
    with pytest.raises(InvalidInputError, match=message):
        given()


def test_invalid_questions_to_a_plan():
    found = advise()
    with pytest.raises(TypeError, match="loaders"):
        found.what_if(loaders=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(InvalidInputError, match="loader_slots must be"):
        found.what_if(loader_slots=0)
    with pytest.raises(InvalidInputError, match="models must be"):
        found.what_if(models=0)
    assert found.what_if(keep_warm=LOAD.models[0]).cost == found.best.cost  # a name alone is a list of one


def test_one_type_may_be_given_by_its_name():
    assert advise(instance_types="ml.m5.large").best.layout.instance_type == "ml.m5.large"


def test_models_without_requests_are_hosted():
    found = plan(Workload.from_rates({"a": 1.0, "b": 0.0}), catalogue=MODEL, prices=PRICES, requests=1000)
    assert set(found.best.shared_models) | set(found.best.dedicated_models) == {"a", "b"}
    assert np.isfinite(found.best.p99)


def test_callers_may_wait_for_ever():
    assert SingleFlight(deadline=INF, answer_limit=INF).deadline == INF
