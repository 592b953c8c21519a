"""The newer fields of a spec: sent, read back from a live endpoint, compared by name, refused where they do not fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from mme_sdk.endpoints import (
    BlueGreen,
    Container,
    Endpoints,
    EndpointSpec,
    InstancePool,
    MetricsSettings,
    Rolling,
)
from mme_sdk.errors import InvalidInputError
from mme_sdk.types import ModelVersion
from tests.support.endpoints.fake import InMemory
from tests.support.endpoints.helpers import IMAGE, ROLE, NoInvoker, multi, single

TREE = "s3://ml-models/tree/"
AMI = "al2-ami-sagemaker-inference-gpu-2"
CREDENTIALS = "arn:aws:lambda:eu-west-1:123456789012:function:credentials"
RESERVATION = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/mine"
POOLS = (InstancePool(instance_type="ml.m5.large", priority=1), InstancePool(instance_type="ml.c5.large", priority=2))


def variant(**fields: Any) -> EndpointSpec:
    spec = single("scoring")
    return attrs.evolve(spec, variants=(attrs.evolve(spec.variants[0], **fields),))


def container(**fields: Any) -> EndpointSpec:
    return variant(containers=(attrs.evolve(single("scoring").variants[0].containers[0], **fields),))


WHERE = "variants.AllTraffic"
CHANGES: dict[str, tuple[EndpointSpec, set[str]]] = {
    "a prefix of files": (
        container(model_data=TREE, compressed=False),
        {f"{WHERE}.containers.0.model_data", f"{WHERE}.containers.0.compressed"},
    ),
    "one object": (
        container(model_data="s3://ml-models/prod/fraud/v3.bin", compressed=False),
        {f"{WHERE}.containers.0.model_data", f"{WHERE}.containers.0.compressed"},
    ),
    "a registry in the VPC": (container(vpc_registry=True), {f"{WHERE}.containers.0.vpc_registry"}),
    "credentials": (
        container(vpc_registry=True, registry_credentials=CREDENTIALS),
        {f"{WHERE}.containers.0.vpc_registry", f"{WHERE}.containers.0.registry_credentials"},
    ),
    "pools": (
        variant(instance_type=None, instance_pools=POOLS),
        {f"{WHERE}.instance_type", f"{WHERE}.instance_pools"},
    ),
    "routing": (variant(routing="LEAST_OUTSTANDING_REQUESTS"), {f"{WHERE}.routing"}),
    "an AMI": (variant(ami_version=AMI), {f"{WHERE}.ami_version"}),
    "a reservation": (
        variant(capacity_reservation=RESERVATION),
        {f"{WHERE}.capacity_reservation", f"{WHERE}.extra.CapacityReservationConfig.CapacityReservationPreference"},
    ),
    "metrics": (
        attrs.evolve(single("scoring"), metrics=MetricsSettings(frequency=10)),
        {"metrics.enhanced", "metrics.frequency"},
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_field_is_sent_read_back_and_compared(what):
    aws = InMemory()
    endpoints = Endpoints(aws, NoInvoker)
    before, (wanted, fields) = single("scoring"), CHANGES[what]
    endpoints.create(before)
    assert {one.field for one in endpoints.plan(wanted).changes} == fields
    endpoints.apply(wanted)
    assert endpoints.plan(wanted).changes == ()
    back = endpoints.from_endpoint("scoring")
    assert back == wanted
    assert all(not one.extra for one in (*back.variants, *back.variants[0].containers))
    assert not back.extra
    assert EndpointSpec.from_dict(wanted.to_dict()) == wanted
    assert {one.field for one in endpoints.plan(before).changes} == fields
    endpoints.handle("scoring").rollback()
    assert endpoints.plan(before).changes == ()


def test_values_of_a_change_are_those_of_the_field():
    aws = InMemory()
    endpoints = Endpoints(aws, NoInvoker)
    endpoints.create(single("scoring"))
    spec = container(model_data=TREE, compressed=False, vpc_registry=True)
    changes = {one.field.rpartition(".")[2]: (one.old, one.new) for one in endpoints.plan(spec).changes}
    assert changes == {
        "model_data": ("s3://ml-models/prod/fraud/v3.tar.gz", TREE),
        "compressed": (True, False),
        "vpc_registry": (False, True),
    }
    changes = endpoints.plan(variant(routing="KV_AWARE")).changes
    assert [(one.old, one.new) for one in changes] == [("RANDOM", "KV_AWARE")]
    assert endpoints.plan(variant(routing="RANDOM")).changes == ()
    assert endpoints.create(variant(routing="RANDOM")).name == "scoring"


def test_a_version_that_was_registered_uncompressed_needs_no_keyword():
    version = SimpleNamespace(uri=TREE, compressed=False)
    (only,) = single("scoring", artifact=version).variants[0].containers
    assert (only.model_data, only.compressed) == (TREE, False)
    assert single("scoring", artifact=TREE, compressed=False).variants[0].containers == (only,)
    assert single("scoring", artifact=SimpleNamespace(uri="s3://b-b/a.tar.gz")).variants[0].containers[0].compressed
    assert EndpointSpec.from_dict(
        {"single_model": {"name": "a", "artifact": TREE, "compressed": False, "image": IMAGE, "role": ROLE,
                          "instance_type": "ml.m5.large"}}
    ).variants[0].containers == (only,)  # fmt: skip


def test_what_needs_an_archive_refuses_an_uncompressed_version():
    version = ModelVersion(
        name="fraud", version="v1", target_model=".mme/uncompressed/fraud@v1.json", uri=TREE, compressed=False
    )
    endpoints = Endpoints(InMemory(), NoInvoker)
    endpoints.create(multi("scoring"))
    for act in (
        lambda: multi("a", models=version),
        lambda: endpoints.to_single_model("scoring", version),
    ):
        with pytest.raises(InvalidInputError, match=r"is an uncompressed version; .* needs an archive"):
            act()


def test_the_description_of_an_uncompressed_model_has_its_address():
    endpoints = Endpoints(InMemory(), NoInvoker)
    endpoints.create(container(model_data=TREE, compressed=False))
    assert endpoints.describe("scoring").model_data == TREE
    with pytest.raises(InvalidInputError, match="serves an uncompressed model; a multi-model endpoint loads archives"):
        endpoints.to_multi_model("scoring", "s3://ml-models/prod/")


SERVERLESS = {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}


def source(kind: str, compression: str, address: str) -> dict[str, Any]:
    return {"S3DataSource": {"S3Uri": address, "S3DataType": kind, "CompressionType": compression}}


REFUSED = {
    "compressed: False is not available with multi-model containers": lambda: Container(
        image="i", mode="MultiModel", model_data=TREE, compressed=False
    ),
    "compressed: False needs `model_data`": lambda: Container(image="i", compressed=False),
    "compressed must be of type bool, not str": lambda: Container(image="i", model_data=TREE, compressed="no"),
    "names a bucket without a prefix or an object": lambda: container(model_data="s3://ml-models", compressed=False),
    "is an archive, which the container would get without extraction": lambda: container(
        model_data="s3://ml-models/a.tar.gz", compressed=False
    ),
    "or compressed=False to serve the files under it as one model": lambda: single("a", artifact=TREE),
    "registry_credentials: available with vpc_registry=True only": lambda: container(registry_credentials=CREDENTIALS),
    "registry_credentials: must be the ARN of a Lambda function": lambda: container(
        vpc_registry=True, registry_credentials="arn:aws:iam::123456789012:role/r"
    ),
    "routing: 'FAST' is not one of LEAST_OUTSTANDING_REQUESTS, RANDOM": lambda: variant(routing="FAST"),
    "routing must be text, not 3": lambda: variant(routing=3),
    "ami_version: 'mine' is not one of": lambda: variant(ami_version="mine"),
    "capacity_reservation: 'arn:aws:sagemaker:us-east-1:1:x/y' does not match": lambda: variant(
        capacity_reservation="arn:aws:sagemaker:us-east-1:1:x/y"
    ),
    "instance_pools: give either instance_type, instance_pools": lambda: variant(instance_pools=POOLS),
    "instance_pools: names must differ": lambda: variant(instance_type=None, instance_pools=(POOLS[0], POOLS[0])),
    "priorities of instance_pools: names must differ": lambda: variant(
        instance_type=None, instance_pools=(POOLS[0], attrs.evolve(POOLS[1], priority=1))
    ),
    "priority must be a whole number at least 1 and at most 5, not 6": lambda: InstancePool(
        instance_type="ml.m5.large", priority=6
    ),
    "instance_type: 'm5' is not an instance type": lambda: InstancePool(instance_type="m5", priority=1),
    "instance_type: 'ml.m99.large' is not one of the hosting types": lambda: InstancePool(
        instance_type="ml.m99.large", priority=1
    ),
    "instance_pools: ml.p4d.24xlarge cannot host a multi-model endpoint": lambda: attrs.evolve(
        multi("a").variants[0],
        instance_type=None,
        instance_pools=(InstancePool(instance_type="ml.p4d.24xlarge", priority=1),),
    ),
    "volume_gb: ml.m5d.large of instance_pools has local storage": lambda: variant(
        instance_type=None, volume_gb=9, instance_pools=(InstancePool(instance_type="ml.m5d.large", priority=1),)
    ),
    "kms_key: not available with ml.m5d.large": lambda: attrs.evolve(
        variant(instance_type=None, instance_pools=(InstancePool(instance_type="ml.m5d.large", priority=1),)),
        kms_key="alias/mine",
    ),
    # the same rules for what an `extra` sends
    "extra: a container has either a ModelDataUrl or a ModelDataSource": lambda: container(
        extra={"ModelDataSource": source("S3Prefix", "None", TREE)}
    ),
    "extra: a container has either a ModelDataUrl or a ModelDataSource ": lambda: container(
        model_data=TREE, compressed=False, extra={"ModelDataUrl": "s3://b-b/a.tar.gz"}
    ),
    "extra.ModelDataSource: CompressionType must be None if S3DataType is S3Prefix": lambda: container(
        model_data=None, extra={"ModelDataSource": source("S3Prefix", "Gzip", TREE)}
    ),
    "S3Uri 's3://b-b/x' does not fit S3Prefix: a prefix ends with '/'": lambda: container(
        model_data=None, extra={"ModelDataSource": source("S3Prefix", "None", "s3://b-b/x")}
    ),
    "S3Uri 's3://b-b/x/' does not fit S3Object: an object does not end with '/'": lambda: container(
        model_data=None, extra={"ModelDataSource": source("S3Object", "Gzip", "s3://b-b/x/")}
    ),
    "instance_pools: give either instance_type, instance_pools or serverless": lambda: variant(
        extra={"InstancePools": [{"InstanceType": "ml.m5.large", "Priority": 1}]}
    ),
    "instance_pools: give either instance_type, instance_pools or serverless ": lambda: variant(extra=SERVERLESS),
    "extra: ServerlessConfig needs instance_count=None": lambda: variant(instance_type=None, extra=SERVERLESS),
    "hostname: each container needs one if InferenceExecutionConfig is Direct": lambda: attrs.evolve(
        single("a"), extra={"CreateModel": {"InferenceExecutionConfig": {"Mode": "Direct"}}}
    ),
    "hostname: each container needs one if InferenceExecutionConfig is Direct ": lambda: attrs.evolve(
        variant(model_extra={"InferenceExecutionConfig": {"Mode": "Direct"}})
    ),
    "frequency must be one of 10, 30, 60, 120": lambda: attrs.evolve(
        single("a"), extra={"CreateEndpointConfig": {"MetricsConfig": {"MetricPublishFrequencyInSeconds": 11}}}
    ),
    "frequency must be one of 10, 30, 60": lambda: MetricsSettings(frequency=20),
    "enhanced must be of type bool": lambda: MetricsSettings(enhanced="yes"),
    "metrics must be of type MetricsSettings": lambda: attrs.evolve(single("a"), metrics=60),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_does_not_fit_is_refused_by_name(reason):
    with pytest.raises(InvalidInputError) as caught:
        REFUSED[reason]()
    text = f"{caught.value.message} {caught.value.hint or ''}"
    assert reason.strip() in text, text


@pytest.mark.parametrize("field", ["routing", "ami_version", "capacity_reservation", "instance_pools"])
def test_serverless_has_no_instances_to_set(field):
    from mme_sdk.endpoints import Serverless

    values = {"routing": "RANDOM", "ami_version": AMI, "capacity_reservation": RESERVATION, "instance_pools": POOLS}
    with pytest.raises(InvalidInputError, match=f"{field}: not available with serverless"):
        variant(instance_type=None, serverless=Serverless(), **{field: values[field]})


def test_the_deployment_of_a_spec_is_sent_at_creation_and_used_by_updates():
    aws = InMemory()
    sent: list[Any] = []
    real = aws.send
    aws.send = lambda call: (sent.append(call), real(call))[1]  # type: ignore[method-assign]
    endpoints = Endpoints(aws, NoInvoker)
    spec = attrs.evolve(single("scoring"), deployment=BlueGreen(canary=10, wait=60))
    endpoints.create(spec)
    assert EndpointSpec.from_dict(spec.to_dict()) == spec
    assert endpoints.plan(single("scoring")).changes == ()  # an update cannot change it
    endpoints.apply(attrs.evolve(variant(routing="KV_AWARE"), deployment=spec.deployment))
    endpoints.apply(attrs.evolve(spec, tags={}), deployment=Rolling())
    policies = [
        next(iter(one.params["DeploymentConfig"]))
        for one in sent
        if one.operation in ("create_endpoint", "update_endpoint")
    ]
    assert policies == ["BlueGreenUpdatePolicy", "BlueGreenUpdatePolicy", "RollingUpdatePolicy"]


def test_a_deployment_is_plain_data_with_its_kind():
    spec = attrs.evolve(single("a"), deployment=Rolling(batch=20))
    assert spec.to_dict()["endpoint"]["deployment"] == {"rolling": {"batch": 20}}
    assert EndpointSpec.from_dict(spec.to_dict()) == spec
    for bad in ({"batch": 20}, {"rolling": {}, "blue_green": {}}, {"rolling": 3}, {"rolling": {"canary": 3}}, 7):
        data = spec.to_dict()
        data["endpoint"]["deployment"] = bad
        with pytest.raises(InvalidInputError, match="deployment"):
            EndpointSpec.from_dict(data)
    with pytest.raises(InvalidInputError, match="DeploymentConfig cannot be set here"):
        attrs.evolve(spec, extra={"CreateEndpoint": {"DeploymentConfig": {}}})
    with pytest.raises(InvalidInputError, match="Rolling is not available with several variants"):
        attrs.evolve(spec, variants=(spec.variants[0], attrs.evolve(spec.variants[0], name="B")))
