"""Rows of what was lost, refused or kept wrongly: each with its neighbours, against the embedded control plane."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from mme_sdk.aws import Aws
from mme_sdk.endpoints import (
    AsyncInference,
    Autoscaling,
    BlueGreen,
    Container,
    DataCapture,
    Endpoints,
    EndpointSpec,
    Rolling,
    Serverless,
    Variant,
)
from mme_sdk.endpoints.operations.create import begin
from mme_sdk.errors import InvalidInputError
from tests.support.endpoints.helpers import IMAGE, NOTHING, ROLE, NoInvoker, multi, resources, single
from tests.support.endpoints.interleaving import Client
from tests.support.selection import pairs

ARCHIVE = "s3://ml-models/prod/fraud/v3.tar.gz"
SIZE = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}


def raw(
    aws: Aws, name: str, *, container: Any = None, model: Any = None, variant: Any = None, config: Any = None
) -> None:
    """An endpoint as boto3 makes it."""
    client = aws.client("sagemaker")
    primary = {"Image": IMAGE, "ModelDataUrl": ARCHIVE} if container is None else container
    body = {"PrimaryContainer": primary, "ExecutionRoleArn": ROLE} if model is None else model
    client.create_model(ModelName=f"{name}-hand", **body)
    one = {"VariantName": "A", "ModelName": f"{name}-hand", **(SIZE if variant is None else variant)}
    client.create_endpoint_config(EndpointConfigName=f"{name}-hand", ProductionVariants=[one], **(config or {}))
    client.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-hand")
    Endpoints(aws, NoInvoker).wait(name, timeout=60)


def target_of(aws: Aws, name: str, variant: str = "AllTraffic") -> float | None:
    seen = next(one for one in Endpoints(aws, NoInvoker).describe(name).variants if one.name == variant)
    if seen.autoscaling is None:
        return None
    return float(seen.autoscaling.policies[0]["TargetTrackingScalingPolicyConfiguration"]["TargetValue"])


CORES = {"cpu": ("ml.m5.large", "ml.m5.4xlarge"), "gpu": ("ml.g4dn.xlarge", "ml.g4dn.12xlarge")}


@pytest.mark.parametrize(("metric", "first"), pairs(CORES, ["small", "large"]))
def test_a_target_counted_in_cores_follows_the_instance_type_both_ways(collection, aws, name, metric, first):
    before, after = CORES[metric] if first == "small" else reversed(CORES[metric])
    scaled = {"autoscaling": Autoscaling(min=1, max=4, metric=metric)}
    collection.apply(single(name, instance_type=before, **scaled), timeout=60)
    start = target_of(aws, name)
    collection.apply(single(name, instance_type=after, **scaled), timeout=60)
    switched = target_of(aws, name)
    assert switched != start
    collection.handle(name).rollback(timeout=60)
    assert target_of(aws, name) == start
    collection.handle(name).rollback(timeout=60)
    assert target_of(aws, name) == switched
    # The spec leaves autoscaling alone: what is attached follows all the same.
    collection.apply(single(name, instance_type=before), timeout=60)
    assert target_of(aws, name) == start


def test_a_target_that_an_update_took_off_and_another_client_puts_back_follows_too(aws, name):
    collection = Endpoints(aws, NoInvoker)
    scaled = {"autoscaling": Autoscaling(min=1, max=4)}
    collection.apply(single(name, instance_type="ml.m5.large", **scaled), timeout=60)
    assert target_of(aws, name) == 120
    from tests.integration.endpoints.test_interleaved import applying

    Client(aws, applying(single(name, instance_type="ml.m5.4xlarge"))).after("update_endpoint")
    collection.wait(name, timeout=60)
    collection.apply(single(name, instance_type="ml.m5.4xlarge"), timeout=60)
    assert target_of(aws, name) == 960


def test_a_target_that_counts_nothing_keeps_its_value(collection, aws, name):
    scaled = {"autoscaling": Autoscaling(min=1, max=4, target=600)}
    collection.apply(single(name, instance_type="ml.m5.large", **scaled), timeout=60)
    collection.apply(single(name, instance_type="ml.m5.4xlarge"), timeout=60)
    assert target_of(aws, name) == 600


def variants(name: str, *names: str, **changes: Any) -> EndpointSpec:
    container = Container(image=IMAGE, model_data=ARCHIVE)
    return EndpointSpec(
        name=name,
        role=ROLE,
        variants=tuple(
            Variant(name=one, containers=(container,), instance_type="ml.m5.large", **changes) for one in names
        ),
    )


@pytest.mark.parametrize("then", ["renamed", "dropped", "serverless"])
def test_variants_that_come_back_with_a_rollback_bring_their_autoscaling(collection, aws, name, then):
    scaled = {"autoscaling": Autoscaling(min=1, max=4)}
    collection.apply(
        variants(name, "A", "B", **scaled) if then != "serverless" else variants(name, "A", **scaled), timeout=60
    )
    after = {
        "renamed": variants(name, "A", "C"),
        "dropped": variants(name, "A"),
        "serverless": single(name, variant="A", instance_type=None, serverless=Serverless()),
    }[then]
    back = "A" if then == "serverless" else "B"
    collection.apply(after, timeout=60)
    collection.handle(name).rollback(timeout=60)
    assert target_of(aws, name, back) == 120
    collection.handle(name).rollback(timeout=60)
    collection.handle(name).rollback(timeout=60)
    assert target_of(aws, name, back) == 120


def test_autoscaling_that_cannot_come_back_is_said_to_be_gone(collection, aws, name, caplog):
    raw(aws, name)
    collection.handle(name).autoscale(Autoscaling(min=1, max=4), variant="A")
    collection.apply(variants(name, "B"), timeout=60)
    collection.handle(name).autoscale(Autoscaling(min=1, max=4), variant="B")
    collection.handle(name).rollback(timeout=60)  # to what a person made, where nothing can be written down
    assert target_of(aws, name, "A") == 120
    assert "autoscaling of B is removed with configuration" in caplog.text


def test_the_first_rollback_of_an_adopted_endpoint_leads_to_what_it_was(collection, aws, name):
    raw(aws, name)
    collection.apply(variants(name, "A", volume_gb=50), timeout=60)
    ours = collection.describe(name).config_name
    assert collection.handle(name).rollback(timeout=60).describe().config_name == f"{name}-hand"
    assert collection.handle(name).rollback(timeout=60).describe().config_name == ours


def test_a_rollback_needs_no_spec_of_where_it_leads(collection, aws, name):
    raw(aws, name)
    weightless = {"VariantName": "A", "ModelName": f"{name}-hand", **SIZE, "InitialVariantWeight": 0}
    aws.client("sagemaker").create_endpoint_config(EndpointConfigName="odd", ProductionVariants=[weightless])
    assert collection.handle(name).rollback("odd", timeout=60).describe().config_name == "odd"
    aws.client("sagemaker").delete_model(ModelName=f"{name}-hand")
    with pytest.raises(Exception, match="Could not find model"):  # SageMaker's own words, not a spec's
        collection.handle(name).rollback(f"{name}-hand", timeout=60)


KEPT: dict[str, dict[str, Any]] = {
    "capture that is off": {
        "config": {
            "DataCaptureConfig": {
                "EnableCapture": False,
                "InitialSamplingPercentage": 5,
                "DestinationS3Uri": "s3://ml-models/captured",
                "CaptureOptions": [{"CaptureMode": "Input"}],
            }
        }
    },
    "topics that carry the answer": {
        "config": {
            "AsyncInferenceConfig": {
                "OutputConfig": {
                    "S3OutputPath": "s3://ml-models/answers",
                    "NotificationConfig": {"IncludeInferenceResponseIn": ["ERROR_NOTIFICATION_TOPIC"]},
                }
            }
        }
    },
    "routing": {"variant": SIZE | {"RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}}},
    "an AMI": {"variant": SIZE | {"InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-2"}},
    "an address in the form of https": {
        "container": {"Image": IMAGE, "ModelDataUrl": "https://s3.amazonaws.com/ml-models/prod/model.tar.gz"}
    },
    "no role": {"model": {"PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": ARCHIVE}}},
    "another format than a spec may say": {"container": {"Image": IMAGE, "ModelDataUrl": "s3://ml-models/model.zip"}},
    "a prefix without its slash": {
        "container": {"Image": IMAGE, "Mode": "MultiModel", "ModelDataUrl": "s3://ml-models/prod"}
    },
    "a volume": {"variant": SIZE | {"VolumeSizeInGB": 77}},
    "a volume of instances with their own": {
        "variant": {"InstanceType": "ml.g4dn.xlarge", "InitialInstanceCount": 1, "VolumeSizeInGB": 77}
    },
    "serverless": {"variant": {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 3}}},
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_read_from_an_endpoint_loses_nothing(aws, name, case):
    collection = Endpoints(aws, NoInvoker)
    try:
        raw(aws, name, **KEPT[case])
    except aws.client("sagemaker").exceptions.ClientError as error:
        pytest.skip(f"the embedded SageMaker refuses it: {error}")
    spec = collection.from_endpoint(name)
    assert EndpointSpec.from_dict(spec.to_dict()) == spec
    assert collection.plan(spec).changes == ()
    bare = attrs.evolve(spec, data_capture=None, async_inference=None, extra={})
    if bare != spec:
        assert (
            [one.how for one in collection.plan(bare).changes]
            == ["new fleet"] * len(collection.plan(bare).changes)
            != []
        )
    # A new fleet has it too.
    changed = attrs.evolve(
        spec, variants=(attrs.evolve(spec.variants[0], model_extra={"EnableNetworkIsolation": True}),)
    )
    assert [one.field for one in collection.plan(changed).changes] == ["network_isolation"]
    collection.apply(changed, timeout=60)
    assert collection.from_endpoint(name).to_requests() == changed.to_requests()
    assert collection.plan(changed).changes == ()


def test_a_model_package_needs_no_image_and_pools_need_no_type():
    package = Container(extra={"ModelPackageName": "arn:aws:sagemaker:us-east-1:123456789012:model-package/mine/1"})
    pools = [{"InstanceType": "ml.m5.large", "Priority": 1}, {"InstanceType": "ml.m5.xlarge", "Priority": 2}]
    variant = Variant(
        containers=(package,), extra={"InstancePools": pools}, autoscaling=Autoscaling(min=1, max=2, target=9)
    )
    requests = EndpointSpec(name="a", role=None, variants=(variant,)).to_requests()
    assert "Image" not in requests.models[0]["PrimaryContainer"]
    assert "ExecutionRoleArn" not in requests.models[0]
    assert "InstanceType" not in requests.config["ProductionVariants"][0]
    with pytest.raises(InvalidInputError, match="vCPUs of instance pools are not known"):
        attrs.evolve(variant, autoscaling=Autoscaling(min=1, max=2))


def test_what_an_update_is_not_sent_and_explicit_defaults_are_no_difference(collection, aws, name):
    raw(aws, name, model={"PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": ARCHIVE}, "ExecutionRoleArn": ROLE})
    rollout = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}
    spec = attrs.evolve(
        variants(name, "A", extra={"RoutingConfig": {"RoutingStrategy": "RANDOM"}, "EnableSSMAccess": False}),
        extra={
            "CreateEndpoint": {"DeploymentConfig": rollout},
            "CreateModel": {"EnableNetworkIsolation": False, "InferenceExecutionConfig": {"Mode": "Serial"}},
        },
    )
    assert collection.plan(spec).changes == ()
    assert collection.plan(spec).action == "nothing"


def tags_of(aws: Aws, name: str) -> dict[str, dict[str, str]]:
    client = aws.client("sagemaker")
    config = client.describe_endpoint_config(
        EndpointConfigName=client.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    )
    model = client.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    arns = {
        "endpoint": client.describe_endpoint(EndpointName=name)["EndpointArn"],
        "config": config["EndpointConfigArn"],
        "model": model["ModelArn"],
    }
    return {
        kind: {
            t["Key"]: t["Value"]
            for t in client.list_tags(ResourceArn=arn)["Tags"]
            if not t["Key"].startswith("mme_sdk:")
        }
        for kind, arn in arns.items()
    }


def test_tags_change_on_all_three_resources_or_on_each_alone(collection, aws, name):
    collection.apply(multi(name, tags={"team": "a"}), timeout=60)
    planned = collection.plan(multi(name, tags={"team": "b"}))
    assert [str(one) for one in planned.changes] == ["tags.team: 'a' → 'b' (in place)"]
    collection.apply(planned, timeout=60)
    assert tags_of(aws, name) == {key: {"team": "b"} for key in ("endpoint", "config", "model")}
    spec = multi(name, tags={"team": "b"}, config_tags={"team": "c"})
    spec = attrs.evolve(spec, variants=(attrs.evolve(spec.variants[0], model_tags={}),))
    fields = {one.field for one in collection.plan(spec).changes}
    assert fields == {"config_tags.team", "variants.AllTraffic.model_tags.team"}
    collection.apply(spec, timeout=60)
    assert tags_of(aws, name) == {"endpoint": {"team": "b"}, "config": {"team": "c"}, "model": {}}
    assert collection.from_endpoint(name) == spec
    assert collection.plan(spec).action == "nothing"


def test_variants_that_differ_in_the_tags_of_their_models_alone_have_a_model_each(collection, aws, name):
    both = variants(name, "A", "B")
    spec = attrs.evolve(both, variants=(attrs.evolve(both.variants[0], model_tags={"x": "1"}), both.variants[1]))
    collection.apply(both, timeout=60)
    assert [one.field for one in collection.plan(spec).changes] == ["variants.A.model_tags.x"]
    collection.apply(attrs.evolve(spec, network_isolation=True), timeout=60)
    assert collection.from_endpoint(name) == attrs.evolve(spec, network_isolation=True)
    collection.delete(name, timeout=60)
    assert resources(aws) == NOTHING


def test_tags_of_what_a_person_made_are_left(collection, aws, name):
    raw(aws, name)
    spec = attrs.evolve(collection.from_endpoint(name), tags={"team": "b"})
    assert [one.field for one in collection.plan(spec).changes] == ["tags.team"]
    collection.apply(spec, timeout=60)
    assert tags_of(aws, name) == {"endpoint": {"team": "b"}, "config": {}, "model": {}}


@pytest.mark.parametrize("then", ["wait", "apply"])
def test_a_creation_that_another_process_waits_for_gets_its_autoscaling(collection, aws, name, then):
    spec = multi(name, autoscaling=Autoscaling(min=2, max=4), tags={"team": "a"})
    Client(aws, begin(spec, now=aws.clock.monotonic)).finish()  # and its handle is lost
    if then == "apply":
        aws.client("sagemaker").get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        collection.apply(spec, timeout=60)
    else:
        assert collection.handle(name).wait(60).describe().variants[0].autoscaling.max == 4
    assert target_of(aws, name) == 240
    arn = aws.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointArn"]
    assert aws.client("sagemaker").list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    assert collection.plan(spec).action == "nothing"


def test_a_creation_leaves_no_note_on_the_endpoint(collection, aws, name):
    collection.create(multi(name, autoscaling=Autoscaling(min=2, max=4)), timeout=60)
    arn = aws.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointArn"]
    assert aws.client("sagemaker").list_tags(ResourceArn=arn)["Tags"] == []


def part(**changes: Any) -> Variant:
    return attrs.evolve(single("a").variants[0], **changes)


REFUSED = {
    "instance_type: 'ml.m5.huge' is not one of": lambda: single("a", instance_type="ml.m5.huge"),
    "extra: ProductionVariant of SageMaker has no member 'Volume'": lambda: part(extra={"Volume": 3}),
    "extra.VolumeSizeInGB must be from 1 to 512, not 513": lambda: part(extra={"VolumeSizeInGB": 513}),
    "extra.RoutingConfig.RoutingStrategy: 'FAST' is not one of": lambda: part(
        extra={"RoutingConfig": {"RoutingStrategy": "FAST"}}
    ),
    "extra.RoutingConfig: RoutingStrategy is missing": lambda: part(extra={"RoutingConfig": {}}),
    "extra.EnableSSMAccess must be True or False, not 'yes'": lambda: part(extra={"EnableSSMAccess": "yes"}),
    "extra.ImageConfig.RepositoryAccessMode: 'Vcp'": lambda: Container(
        image="i", extra={"ImageConfig": {"RepositoryAccessMode": "Vcp"}}
    ),
    "extra.CreateModel: CreateModelInput of SageMaker has no member 'Foo'": lambda: single(
        "a", extra={"CreateModel": {"Foo": 1}}
    ),
    "extra.CreateEndpointConfig.MetricsConfig must be a mapping, not bool": lambda: single(
        "a", extra={"CreateEndpointConfig": {"MetricsConfig": True}}
    ),
    "extra.CreateEndpoint.DeploymentConfig.BlueGreenUpdatePolicy: TrafficRoutingConfiguration is missing": lambda: (
        single("a", extra={"CreateEndpoint": {"DeploymentConfig": {"BlueGreenUpdatePolicy": {}}}})
    ),
    "extra.CreateModel: Tags cannot be set here": lambda: single("a", extra={"CreateModel": {"Tags": []}}),
    "extra.CreateEndpointConfig: ProductionVariants cannot be set here": lambda: single(
        "a", extra={"CreateEndpointConfig": {"ProductionVariants": []}}
    ),
    "explainer.ClarifyExplainerConfig: ShapConfig is missing": lambda: single(
        "a", explainer={"ClarifyExplainerConfig": {}}
    ),
    "model_extra: CreateModelInput of SageMaker has no member 'Role'": lambda: part(model_extra={"Role": ROLE}),
    "csv_types: 'csv' is not a media type; media types look like 'text/csv'": lambda: DataCapture(
        destination="s3://b-b/x", csv_types=("csv",)
    ),
    "json_types: at most 10 media types, not 11": lambda: DataCapture(
        destination="s3://b-b/x", json_types=[f"application/x{n}" for n in range(11)]
    ),
    "include_response_in: one of SUCCESS_NOTIFICATION_TOPIC": lambda: AsyncInference(
        output="s3://b-b/x", include_response_in=("success",)
    ),
    "environment: 3": lambda: Container(image="i", environment={f"A{n:02}": "x" * 1000 for n in range(33)}),
    "environment: 40": lambda: Variant(
        containers=[Container(image="i", environment={f"A{n:02}": "x" * 1000 for n in range(20)})] * 2,
        instance_type="ml.m5.large",
    ),
    "environment: 34051 bytes of names and values in all containers of a model; at most 32768": lambda: Container(
        image="i", environment={f"A{n:02}": "ü" * 1000 for n in range(17)}
    ),
    "hostname: 1 of 2 containers have one": lambda: Variant(
        containers=(Container(image="i", hostname="a"), Container(image="i")), instance_type="ml.m5.large"
    ),
    "model_data: 's3://b-b/m.zip' is not a .tar.gz archive": lambda: single("a", artifact="s3://b-b/m.zip"),
    "model_data: 's3://b-b/x.y/m.pkl' is not a .tar.gz archive": lambda: single("a", artifact="s3://b-b/x.y/m.pkl"),
    "model_data: 's3://b-b/m.tar' is not a .tar.gz archive": lambda: single("a", artifact="s3://b-b/m.tar"),
    "model_data: 's3://b-b/m.zip' names a file; a multi-model container needs a prefix": lambda: multi(
        "a", models="s3://b-b/m.zip"
    ),
    "model_data: 's3://b-b' names a bucket without an archive": lambda: single("a", artifact="s3://b-b"),
    "model_data: 's3://b-b/' names a bucket without an archive": lambda: single("a", artifact="s3://b-b/"),
    "model_data: 'https://example.com/m.tar.gz' is not an S3 address": lambda: Container(
        image="i", model_data="https://example.com/m.tar.gz"
    ),
    "image: give an image URI, or a ModelPackageName": lambda: Container(model_data=ARCHIVE),
    "instance_count: give a number of instances, 1 or more": lambda: part(instance_count=None),
    "limit: the waits alone take 1800 s": lambda: BlueGreen(canary=10, wait=1200, termination_wait=600, limit=1800),
    "limit: the waits alone take 5400 s": lambda: BlueGreen(step=10, wait=600, limit=3600),
    "limit: the waits alone take 32400 s, but the whole deployment may take only 28800 s": lambda: BlueGreen(
        step=10, wait=3600
    ),
    "limit: the waits alone take 1900 s": lambda: Rolling(batch=5, wait=100, limit=600),
    "tags: 'mme_sdk:made_for' begins with 'mme_sdk:'": lambda: single("a", tags={"mme_sdk:made_for": "b"}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_sagemaker_would_refuse_late_is_refused_when_it_is_said(message):
    with pytest.raises(InvalidInputError) as caught:
        REFUSED[message]()
    assert caught.value.message.startswith(message.rstrip())
    assert caught.value.sent is False


ALLOWED = {
    "https, by path": lambda: single("a", artifact="https://s3.us-west-2.amazonaws.com/b-b/m.tar.gz"),
    "https, old path": lambda: single("a", artifact="https://s3-us-west-2.amazonaws.com/b-b/m.tar.gz"),
    "https, by host": lambda: single("a", artifact="https://b-b.s3.eu-west-1.amazonaws.com/x/m.tar.gz"),
    "https of China": lambda: single("a", artifact="https://s3.cn-north-1.amazonaws.com.cn/b-b/m.tar.gz"),
    "https, a prefix": lambda: multi("a", models="https://s3.amazonaws.com/b-b/prod/"),
    "no suffix": lambda: single("a", artifact="s3://b-b/models/fraud-1.0"),
    "tgz": lambda: single("a", artifact="s3://b-b/m.tgz"),
    "a prefix with a dot": lambda: multi("a", models="s3://b-b/v1.final/"),
    "a newer type": lambda: part(instance_type=None, extra={"InstanceType": "ml.m99.large"}),
    "32 kB of environment": lambda: Container(image="i", environment={f"A{n:02}": "x" * 1000 for n in range(32)}),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_botocore_allows_and_sagemaker_takes_is_not_refused(case):
    ALLOWED[case]()


def test_an_asynchronous_endpoint_scales_from_zero(collection, aws, name):
    scaling = Autoscaling(min=0, max=3, target=2, metric="backlog")
    queue = AsyncInference(output="s3://ml-models/answers")
    spec = single(name, async_inference=queue, autoscaling=scaling)
    collection.create(spec, timeout=60)
    policy = collection.describe(name).variants[0].autoscaling.policies[0]
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["CustomizedMetricSpecification"] == {
        "MetricName": "ApproximateBacklogSizePerInstance",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": name}],
        "Statistic": "Average",
    }
    assert collection.from_endpoint(name).variants[0].autoscaling == scaling
    collection.handle(name).scale(0, timeout=60)
    assert collection.describe(name).variants[0].desired_count == 0
    assert collection.plan(spec).changes == ()
    assert collection.from_endpoint(name).variants[0].autoscaling == scaling
    with pytest.raises(InvalidInputError, match="do not publish InvocationsPerInstance"):
        collection.handle(name).autoscale(Autoscaling(min=1, max=2, target=60))


def test_autoscaling_that_never_scales_is_left_out_of_the_spec(collection, aws, name):
    collection.create(single(name, async_inference=AsyncInference(output="s3://ml-models/answers")), timeout=60)
    where = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling = aws.client("application-autoscaling")
    scaling.register_scalable_target(**where, MinCapacity=1, MaxCapacity=2)
    scaling.put_scaling_policy(
        **where,
        PolicyName="p",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 5.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        },
    )
    assert collection.from_endpoint(name).variants[0].autoscaling is None
    assert len(collection.describe(name).variants[0].autoscaling.policies) == 1


def test_a_synchronous_endpoint_keeps_an_instance(collection, name):
    collection.create(single(name), timeout=60)
    with pytest.raises(InvalidInputError, match="only asynchronous endpoints can have 0 instances"):
        collection.handle(name).scale(0)
    with pytest.raises(InvalidInputError, match="only asynchronous endpoints can have min 0"):
        collection.handle(name).autoscale(Autoscaling(min=0, max=2))
