"""One table of instance types, which endpoints, the planner and the embedded SageMaker share."""

from types import SimpleNamespace

import botocore.session
import pytest

from mme_sdk import instance_types
from mme_sdk.endpoints.spec.components import Autoscaling, check_metric
from mme_sdk.errors import InvalidInputError
from mme_sdk.local.hosting.instances.variant import capacity_of
from mme_sdk.planning import Catalogue, Workload, plan
from mme_sdk.planning import instance_types as planned
from mme_sdk.planning.advice.demand import fleet_config
from mme_sdk.planning.advice.inputs import Assumptions


def hosting():
    model = botocore.session.get_session().get_service_model("sagemaker")
    return set(model.shape_for("ProductionVariantInstanceType").enum)


def local_sizes(name):
    settings = SimpleNamespace(memory_bytes=None, volume_bytes=None)
    variant = SimpleNamespace(instance_type=name, memory_bytes=None, volume_gb=None)
    return capacity_of(variant, SimpleNamespace(settings=settings))


def test_hosting_is_what_the_service_model_lists():
    table, listed = instance_types.known(), hosting()
    assert {name for name, kind in table.items() if kind.hosting} == listed & set(table)


def test_each_row_makes_sense():
    for name, kind in instance_types.known().items():
        assert instance_types.INSTANCE_TYPE.fullmatch(name)
        assert kind.vcpus >= 1
        assert kind.memory_gib >= 1
        assert kind.network_gbps > 0
        assert (kind.gpus > 0) == (kind.gpu_memory_gib > 0) == (instance_types.accelerator(name) == "gpu")


@pytest.mark.parametrize("name", ["ml.t2.medium", "ml.c4.8xlarge", "ml.m5.xlarge", "ml.g5.2xlarge", "ml.p3.2xlarge"])
def test_endpoints_planner_and_embedded_sagemaker_agree(name):
    kind = instance_types.find(name)
    assert planned()[name] is kind
    assert instance_types.units(name, "cpu") == kind.vcpus == fleet_config(kind, 1, Assumptions()).workers
    assert instance_types.units(name, "gpu") == kind.gpus
    local = local_sizes(name)
    assert (local.vcpus, local.memory_bytes, local.gpu) == (kind.vcpus, kind.memory_gib * 2**30, kind.gpus > 0)


def test_a_type_that_the_table_lacks_stays_usable():
    name = "ml.m99.large"
    assert instance_types.find(name) is None
    assert instance_types.vcpus(name) is None
    assert instance_types.gpus("ml.g99.xlarge") is None
    assert instance_types.serves_multi_model(name)
    assert local_sizes(name).memory_bytes == 8 << 30
    for metric, unknown in (("cpu", name), ("gpu", "ml.g99.xlarge")):
        with pytest.raises(InvalidInputError, match=f"PUs of {unknown} are not known"):
            check_metric(Autoscaling(min=1, max=2, target=50.0, metric=metric), unknown)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ml.m99.large", "the size of instance type ml.m99.large is not known"),
        ("ml.t3.medium", "ml.t3.medium cannot host a multi-model endpoint"),
        ("ml.g5.12xlarge", "ml.g5.12xlarge cannot host a multi-model endpoint"),
    ],
)
def test_the_planner_refuses_a_named_type_that_cannot_serve_many_models(name, message):
    with pytest.raises(InvalidInputError, match=message):
        plan(Workload.zipf(5), catalogue=Catalogue.uniform(memory_mb=1), prices={name: 1.0}, instance_types=[name])


def test_graviton_types_are_planned_only_if_they_are_named():
    prices = {"ml.m5.xlarge": 0.23, "ml.m6g.xlarge": 0.01}
    load, models = Workload.zipf(5), Catalogue.uniform(memory_mb=1)
    found = plan(load, catalogue=models, prices=prices, requests=1000)
    assert "m6g" not in str(found.best)
    found = plan(load, catalogue=models, prices=prices, instance_types=list(prices), requests=1000)
    assert "m6g" in str(found.best)
