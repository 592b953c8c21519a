"""The table of fields in docs/local.md is that of fields.toml; what is marked as stored is stored and returned."""

from __future__ import annotations

import copy
import runpy
from typing import Any

import pytest

from mme_sdk.local.control.account import Account
from mme_sdk.local.control.sagemaker.resources import Resources, utc_now
from mme_sdk.local.control.store import Store
from mme_sdk.local.wire.fields import load_marks
from tests.support.paths import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "fields_table.py"))
HINT = "run scripts/fields_table.py --write"

VPC = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
SOURCE = {"S3DataSource": {
    "S3Uri": "s3://b/tree/", "S3DataType": "S3Prefix", "CompressionType": "None",
    "ETag": "abc", "ModelAccessConfig": {"AcceptEula": True},
}}  # fmt: skip
RESERVATION = {
    "CapacityReservationPreference": "capacity-reservations-only",
    "MlReservationArn": "arn:aws:sagemaker:us-east-1:123456789012:training-plan/mine",
}
CREDENTIALS = {"RepositoryCredentialsProviderArn": "arn:aws:lambda:us-east-1:123456789012:function:f"}
MODEL = {
    "ModelName": "m",
    "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r",
    "VpcConfig": VPC,
    "EnableNetworkIsolation": True,
    "PrimaryContainer": {
        "Image": "python",
        "ModelDataSource": SOURCE,
        "ImageConfig": {"RepositoryAccessMode": "Vpc", "RepositoryAuthConfig": CREDENTIALS},
    },
}
VARIANT = {
    "VariantName": "v",
    "ModelName": "m",
    "InstanceType": "ml.m5.large",
    "InitialInstanceCount": 1,
    "VariantInstanceProvisionTimeoutInSeconds": 900,
    "EnableSSMAccess": True,
    "InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-2",
    "CapacityReservationConfig": RESERVATION,
    "AcceleratorPartitionLayouts": [{"AcceleratorPartitionTypes": ["mig-1g.5gb"]}],
}
CONFIG = {
    "EndpointConfigName": "c",
    "ProductionVariants": [VARIANT],
    "ShadowProductionVariants": [VARIANT | {"VariantName": "shadow"}],
    "KmsKeyId": "alias/mine",
    "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r",
    "VpcConfig": VPC,
    "EnableNetworkIsolation": True,
    "MetricsConfig": {
        "EnableEnhancedMetrics": True, "EnableDetailedObservability": True, "MetricPublishFrequencyInSeconds": 10,
    },
    "CrossRegionTrafficConfig": {"MaxInvocationsPerSecondPerInstance": 1, "MaxCrossRegionPercentPerEndpoint": 2},
}  # fmt: skip
QUEUE = {
    "EndpointConfigName": "q",
    "ProductionVariants": [{"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large",
                            "InitialInstanceCount": 1}],
    "AsyncInferenceConfig": {"OutputConfig": {
        "S3OutputPath": "s3://b/out", "KmsKeyId": "alias/mine",
        "NotificationConfig": {"SuccessTopic": "arn:1", "ErrorTopic": "arn:2",
                               "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"]},
    }},
}  # fmt: skip
SERVERLESS = {
    "EndpointConfigName": "s",
    "ProductionVariants": [{"VariantName": "v", "ModelName": "m", "ServerlessConfig": {
        "MemorySizeInMB": 1024, "MaxConcurrency": 2, "ProvisionedConcurrency": 1}}],
}  # fmt: skip


def test_the_page_has_the_table_of_the_code():
    page = SCRIPT["PAGE"].read_text(encoding="utf-8")
    assert page == SCRIPT["page"](page), HINT


def test_the_table_has_every_mark():
    rows = SCRIPT["table"]()
    for service in ("sagemaker", "sagemaker-runtime", "application-autoscaling", "cloudwatch", "kms"):
        for shape, marks in load_marks(service).items():
            for member in marks.members:
                assert f"`{member}`" in rows, f"{service} {shape}.{member}"
            for reason in marks.refused.values():
                assert reason in rows


def stored_members(shape: Any, value: Any) -> set[str]:
    """Return the members of a request that fields.toml marks as stored, as `Shape.Member`."""
    if shape.type_name == "list":
        return {one for item in value for one in stored_members(shape.member, item)}
    if shape.type_name != "structure":
        return set()
    marks = load_marks("sagemaker")[shape.name]
    found = {f"{shape.name}.{name}" for name in value if name in marks.stored}
    return found.union(*(stored_members(shape.members[name], item) for name, item in value.items()))


@pytest.fixture
def resources(tmp_path):
    store = Store(tmp_path / "control.sqlite")
    yield Resources(store, Account(), utc_now)
    store.close()


def test_what_is_marked_as_stored_is_returned(resources):
    from mme_sdk.local.wire.service_model import load_service_model

    tried: set[str] = set()
    model = load_service_model("sagemaker")
    for operation, asked in (
        ("CreateModel", MODEL),
        ("CreateEndpointConfig", CONFIG),
        ("CreateEndpointConfig", QUEUE),
        ("CreateEndpointConfig", SERVERLESS),
    ):
        shape = model.operation_model(operation).input_shape
        create, describe, name = {
            "CreateModel": (resources.create_model, resources.describe_model, "ModelName"),
            "CreateEndpointConfig": (
                resources.create_endpoint_config, resources.describe_endpoint_config, "EndpointConfigName",
            ),
        }[operation]  # fmt: skip
        create(copy.deepcopy(asked))
        assert contains(describe({name: asked[name]}), asked)
        tried |= stored_members(shape, asked)
    elsewhere = {"RollingUpdatePolicy.RollbackMaximumBatchSize"}  # of UpdateEndpoint
    stored = {f"{shape}.{one}" for shape, marks in load_marks("sagemaker").items() for one in marks.stored}
    assert tried == stored - elsewhere, "give each stored member a value above"


def contains(found: Any, asked: Any) -> bool:
    if isinstance(asked, dict):
        return all(key in found and contains(found[key], value) for key, value in asked.items())
    if isinstance(asked, list):
        return len(found) == len(asked) and all(map(contains, found, asked))
    return bool(found == asked)
