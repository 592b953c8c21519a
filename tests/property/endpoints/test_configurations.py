"""Whatever configuration botocore's model allows: read, planned, changed by one field, applied, rolled back.

The configurations are drawn from the shapes of the service model, so that members which a newer botocore brings are
drawn too. They live in a control plane in memory that keeps all of them, beside what a person made under similar names.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mme_sdk.endpoints import Endpoints, EndpointSpec
from mme_sdk.endpoints.autoscaling.scaling_calls import Attached
from tests.support.endpoints.fake import InMemory
from tests.support.endpoints.helpers import IMAGE, ROLE, NoInvoker
from tests.support.endpoints.wire_check import _python, shape

TYPES = ["ml.m5.large", "ml.m5.4xlarge", "ml.c5.xlarge", "ml.g4dn.xlarge", "ml.g4dn.12xlarge", "ml.m5d.large"]
NAME = "scoring"
FIXED: dict[str, Any] = {
    "Url": st.sampled_from(["s3://ml-models/a/model.tar.gz", "https://s3.amazonaws.com/ml-models/b.tar.gz"]),
    "DestinationS3Uri": st.just("s3://ml-models/out"),
    "S3ModelUri": st.just("s3://ml-models/tree/"),
    "ProductionVariantInstanceType": st.sampled_from(TYPES),
    "ContainerImage": st.sampled_from([IMAGE, f"{IMAGE}0"]),
    "RoleArn": st.just(ROLE),
    "MetricPublishFrequencyInSeconds": st.sampled_from([10, 30, 60, 120, 180, 240, 300]),
    "EnvironmentMap": st.dictionaries(
        st.from_regex(r"[A-Z]{1,3}", fullmatch=True), st.text("ab é", max_size=3), max_size=2
    ),
}
# What the drawing puts there by itself, since names lead from one resource to another, or members exclude each other.
LEFT_OUT = {
    *("ModelName", "ModelNameOverride", "VariantName", "Tags", "ContainerHostname", "MultiModelConfig", "Mode"),
    *("ProductionVariants", "ShadowProductionVariants", "EndpointConfigName", "PrimaryContainer", "Containers"),
    *("InitialInstanceCount", "InitialVariantWeight", "InstanceType", "InstancePools", "ServerlessConfig", "Image"),
    *("ModelDataUrl", "ModelPackageName", "InferenceExecutionConfig", "AcceleratorType"),
}


def drawn(one: Any) -> st.SearchStrategy[Any]:
    """Values of a shape of the service model."""
    if one.name in FIXED:
        return FIXED[one.name]  # type: ignore[no-any-return]
    rules = one.metadata
    low, high = rules.get("min", 0), rules.get("max")
    match one.type_name:
        case "structure":
            need = {key: drawn(one.members[key]) for key in one.required_members}
            may = {key: drawn(item) for key, item in one.members.items() if key not in need and key not in LEFT_OUT}
            return some(need, may)
        case "list":
            return st.lists(drawn(one.member), min_size=low, max_size=min(high or 3, max(low, 2)), unique_by=repr)
        case "map":
            return st.dictionaries(drawn(one.key), drawn(one.value), max_size=2)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            return st.integers(low, min(high or low + 99, 2**31))
        case "float" | "double":
            return st.integers(1, 99).map(float)
    if "enum" in rules:
        return st.sampled_from(rules["enum"])
    pattern = _python(rules.get("pattern"))
    plain = st.text("abc1", min_size=max(low, 1), max_size=max(low, 8))
    if pattern is None or rules["pattern"] in (".*", r"[\S\s]*", r"[\s\S]+"):
        return plain
    longest = high or 60
    return st.from_regex(rules["pattern"].replace(".*", "[ab]*"), fullmatch=True).filter(
        lambda text: low <= len(text) <= longest and text.isascii() and text.isprintable()
    )


def some(need: dict[str, Any], may: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """All that is needed, and at most two of what may be there."""
    chosen = st.lists(st.sampled_from(sorted(may)), max_size=2, unique=True) if may else st.just([])
    return chosen.flatmap(lambda keys: st.fixed_dictionaries(need | {key: may[key] for key in keys}))


@cache
def structure(operation: str, *path: str) -> st.SearchStrategy[dict[str, Any]]:
    """A part of a request, but what `LEFT_OUT` has."""
    one = shape("sagemaker", operation)
    for key in path:
        one = one.members[key]
        one = one.member if one.type_name == "list" else one
    return some({}, {key: drawn(item) for key, item in one.members.items() if key not in LEFT_OUT})


TAGS = st.dictionaries(st.sampled_from(["team", "cost", "stage"]), st.sampled_from(["a", "b", ""]), max_size=2)


@st.composite
def models(draw: Any, *, multi: bool) -> dict[str, Any]:
    count = 1 if multi else draw(st.integers(1, 2))
    parts = []
    for position in range(count):
        part = draw(structure("create_model", "PrimaryContainer"))
        if "S3DataSource" in part.get("ModelDataSource", {}):
            kinds = [("S3Prefix", "None", "tree/"), ("S3Object", "None", "m.bin"), ("S3Object", "Gzip", "m.tar.gz")]
            kind, compression, key = draw(st.sampled_from(kinds))
            part["ModelDataSource"]["S3DataSource"] |= {
                "S3DataType": kind,
                "CompressionType": compression,
                "S3Uri": f"s3://ml-models/{key}",
            }
        if draw(st.booleans()) or multi:
            part |= {"Image": draw(FIXED["ContainerImage"])}
        else:
            part |= {"ModelPackageName": "arn:aws:sagemaker:us-east-1:123456789012:model-package/mine/1"}
        if multi:
            part.pop("ModelDataSource", None)
            cache_of = draw(st.sampled_from([{}, {"MultiModelConfig": {"ModelCacheSetting": "Disabled"}}]))
            prefix = draw(st.sampled_from(["s3://ml-models/prod/", "s3://ml-models/prod"]))
            part |= {"Mode": "MultiModel", "ModelDataUrl": prefix, **cache_of}
        elif "ModelDataSource" not in part and draw(st.booleans()):
            part["ModelDataUrl"] = draw(FIXED["Url"])
        if count > 1:
            part["ContainerHostname"] = f"host-{position}"
        parts.append(part)
    body = draw(structure("create_model"))
    if draw(st.booleans()) and count > 1:
        body["InferenceExecutionConfig"] = {"Mode": draw(st.sampled_from(["Serial", "Direct"]))}
    return body | ({"PrimaryContainer": parts[0]} if count == 1 else {"Containers": parts})


@st.composite
def sizes(draw: Any, *, serverless: bool) -> dict[str, Any]:
    one = draw(structure("create_endpoint_config", "ProductionVariants"))
    one["InitialVariantWeight"] = float(draw(st.integers(1, 3)))
    if serverless:
        return one | {"ServerlessConfig": draw(drawn(shape_of_variant().members["ServerlessConfig"]))}
    one["InitialInstanceCount"] = draw(st.integers(1, 4))
    if draw(st.integers(0, 4)):
        return one | {"InstanceType": draw(st.sampled_from(TYPES[:3] if "VolumeSizeInGB" in one else TYPES))}
    pools = [{"InstanceType": kind, "Priority": place + 1} for place, kind in enumerate(TYPES[:2])]
    return one | {"InstancePools": pools}


def shape_of_variant() -> Any:
    return shape("sagemaker", "create_endpoint_config").members["ProductionVariants"].member


@st.composite
def worlds(draw: Any) -> InMemory:
    """An endpoint that a person made, another one beside it that shares a model, and look-alikes that nothing uses."""
    aws = InMemory()
    kind = draw(st.sampled_from(["multi", "single", "single", "serverless"]))
    names = ["A"] if kind == "serverless" else draw(st.sampled_from([["A"], ["A", "B"]]))
    looks = draw(st.sampled_from(["by-hand", f"{NAME}-3f2a9c1b4d5e"]))
    variants = []
    for position, name in enumerate(names):
        model = looks if position == 0 else f"{looks}-{position}"
        tags = draw(TAGS)
        aws.do("create_model", ModelName=model, **draw(models(multi=kind == "multi")), Tags=listed(tags))
        variants.append({"VariantName": name, "ModelName": model, **draw(sizes(serverless=kind == "serverless"))})
    config = draw(structure("create_endpoint_config"))
    if kind == "multi":
        config.pop("DataCaptureConfig", None)
        config.pop("AsyncInferenceConfig", None)
    if kind == "single" and draw(st.booleans()):
        shadow = {"VariantName": "S", "ModelName": looks, "InstanceType": TYPES[0], "InitialInstanceCount": 1}
        config["ShadowProductionVariants"] = [shadow]
    aws.do(
        "create_endpoint_config",
        EndpointConfigName=looks,
        ProductionVariants=variants,
        **config,
        Tags=listed(draw(TAGS)),
    )
    aws.do("create_endpoint", EndpointName=NAME, EndpointConfigName=looks, Tags=listed(draw(TAGS)))
    beside = {"VariantName": "A", "ModelName": looks, "InstanceType": TYPES[0], "InitialInstanceCount": 1}
    aws.do("create_endpoint_config", EndpointConfigName=f"{NAME}-0123456789ab", ProductionVariants=[beside])
    aws.do("create_endpoint", EndpointName=f"{NAME}-blue", EndpointConfigName=f"{NAME}-0123456789ab")
    aws.do("create_model", ModelName=f"{NAME}-ffffffffffff", PrimaryContainer={"Image": IMAGE})
    for one in variants:
        if "ServerlessConfig" not in one and draw(st.booleans()):
            scale(draw, aws, one["VariantName"])
    return aws


def scale(draw: Any, aws: InMemory, variant: str) -> None:
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{NAME}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    aws.do("register_scalable_target", **target, MinCapacity=1, MaxCapacity=draw(st.integers(4, 9)))
    metric = draw(st.sampled_from(["CPUUtilization", "GPUMemoryUtilization", "Mine"]))
    custom = {"MetricName": metric, "Namespace": "/aws/sagemaker/Endpoints", "Statistic": "Average"}
    tracking = {"TargetValue": float(draw(st.integers(1, 9))) * 60, "CustomizedMetricSpecification": custom}
    for number in range(draw(st.integers(1, 2))):
        aws.do(
            "put_scaling_policy",
            **target,
            PolicyName=f"policy-{number}",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=tracking,
        )


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def first(spec: EndpointSpec, **changes: Any) -> EndpointSpec:
    return attrs.evolve(spec, variants=(attrs.evolve(spec.variants[0], **changes), *spec.variants[1:]))


def container(spec: EndpointSpec, **changes: Any) -> EndpointSpec:
    parts = spec.variants[0].containers
    return first(spec, containers=(attrs.evolve(parts[0], **changes), *parts[1:]))


def other_type(spec: EndpointSpec) -> EndpointSpec | None:
    variant = spec.variants[0]
    if variant.instance_type is None:
        return None
    plain = [one for one in TYPES[:3] if one != variant.instance_type]
    return first(spec, instance_type=plain[0], autoscaling=None)


ONE_FIELD: dict[str, Any] = {
    "variants.A.instance_type": other_type,
    "variants.A.containers.0.environment.NEW": lambda spec: container(
        spec, environment={**spec.variants[0].containers[0].environment, "NEW": "1"}
    ),
    "variants.A.containers.0.image": lambda spec: (
        container(spec, image=f"{IMAGE}99") if spec.variants[0].containers[0].image else None
    ),
    "variants.A.download_timeout": lambda spec: first(
        spec, download_timeout=(spec.variants[0].download_timeout or 60) % 3000 + 61
    ),
    "variants.A.ami_version": lambda spec: (
        None
        if spec.variants[0].ami_version is not None
        else first(spec, ami_version="al2-ami-sagemaker-inference-gpu-2")
    ),
    "kms_key": lambda spec: (
        None if spec.variants[0].has_instances is False else attrs.evolve(spec, kms_key="alias/mine")
    ),
    "role": lambda spec: (
        None if any(one.model_extra for one in spec.variants) else attrs.evolve(spec, role=f"{ROLE}-other")
    ),
}


def changed(spec: EndpointSpec, field: str) -> EndpointSpec | None:
    try:
        found = ONE_FIELD[field](spec)
    except Exception:  # noqa: BLE001 - the rules of specs do not allow it here
        return None
    return found if isinstance(found, EndpointSpec) else None


def of_person(aws: InMemory, names: dict[str, set[str]]) -> Any:
    return copy.deepcopy(
        {
            kind: {
                key: (one, aws.tags[one.get("ModelArn") or one["EndpointConfigArn"]])
                for key, one in aws.there[kind].items()
                if key in names[kind]
            }
            for kind in ("model", "endpoint_config")
        }
    )


def attached(aws: InMemory) -> Any:
    """Autoscaling, without what the requests say each time."""
    return {
        key: Attached(variant=key, target=one["target"], policies=tuple(one["policies"].values())).settings()
        for key, one in aws.scaling.items()
    }


def live(aws: InMemory) -> Any:
    document = aws.there["endpoint"][NAME]
    return document["EndpointConfigName"], document["ProductionVariants"], aws.tags[document["EndpointArn"]]


def holds(aws: InMemory, field: str) -> None:
    collection = Endpoints(aws, NoInvoker)
    hand = {kind: set(aws.there[kind]) for kind in ("model", "endpoint_config")}
    person, start, scaling = of_person(aws, hand), copy.deepcopy(live(aws)), attached(aws)

    spec = collection.from_endpoint(NAME)
    assert EndpointSpec.from_dict(spec.to_dict()) == spec
    plan = collection.plan(spec)
    assert (plan.action, plan.changes) == ("nothing", ())

    wanted = changed(spec, field)
    assume(wanted is not None)
    assert wanted is not None
    assert {one.field for one in collection.plan(wanted).changes if ".autoscaling" not in one.field} == {field}
    collection.apply(wanted)
    assert collection.plan(wanted).changes == ()
    serving = live(aws)[0]
    assert serving not in hand["endpoint_config"]
    # Nothing but that field has changed, tags of each resource included.
    assert {one.field for one in collection.plan(spec).changes if ".autoscaling" not in one.field} == {field}

    collection.handle(NAME).rollback()
    assert live(aws) == start
    assert attached(aws) == scaling
    assert collection.plan(spec).changes == ()
    collection.handle(NAME).rollback()
    assert live(aws)[0] == serving
    collection.handle(NAME).rollback()
    assert (live(aws), attached(aws)) == (start, scaling)

    assert of_person(aws, hand) == person
    collection.remove_orphans(collection.orphans())
    collection.delete(NAME)
    collection.remove_orphans(collection.orphans())
    assert of_person(aws, hand) == person
    assert {kind: set(aws.there[kind]) for kind in hand} == hand
    assert set(aws.there["endpoint"]) == {f"{NAME}-blue"}
    assert aws.scaling == {}


@pytest.mark.parametrize("field", ONE_FIELD)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(aws=worlds())
def test_any_configuration_is_read_planned_changed_and_rolled_back(aws: InMemory, field: str) -> None:
    holds(aws, field)
