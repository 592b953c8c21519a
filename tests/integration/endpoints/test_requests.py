"""Every request that any spec can produce is one that SageMaker's service model accepts."""

from __future__ import annotations

import json
import subprocess
import sys
import venv

import attrs
import pytest
from hypothesis import HealthCheck, given, settings

from mme_sdk.endpoints import Autoscaling, BlueGreen, EndpointSpec, Rolling
from mme_sdk.endpoints.spec.deployment import to_request
from mme_sdk.endpoints.spec.requests import derived_name, is_derived_name, stem
from tests.support.endpoints.helpers import IMAGE, ROLE, multi, single
from tests.support.endpoints.strategies import NAMES, specs
from tests.support.endpoints.wire_check import problems
from tests.support.paths import SUPPORT

LOWEST_BOTOCORE = "1.40.0"
DEPLOYMENTS = [
    BlueGreen(),
    BlueGreen(canary=10, wait=60, termination_wait=60, limit=600, alarms=("a", "b")),
    BlueGreen(step=20, wait=3600),
    Rolling(batch=5, wait=10, rollback_batch=100, limit=28_800, alarms="one"),
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs())
def test_every_request_passes_on_this_botocore(spec):
    for service, operation, params in spec.to_requests().calls:
        assert problems(service, operation, params) == []


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_every_deployment_passes(deployment):
    update = {"EndpointName": "a", "EndpointConfigName": "b", "DeploymentConfig": to_request(deployment)}
    assert problems("sagemaker", "update_endpoint", update) == []


@pytest.mark.slow
def test_every_request_passes_on_the_lowest_botocore(tmp_path):
    collected: list[tuple[str, str, dict]] = [
        (
            "sagemaker",
            "update_endpoint",
            {"EndpointName": "a", "EndpointConfigName": "b", "DeploymentConfig": to_request(one)},
        )
        for one in DEPLOYMENTS
    ]

    @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(specs())
    def collect(spec):
        collected.extend(spec.to_requests().calls)

    collect()
    requests = tmp_path / "requests.json"
    requests.write_text(json.dumps(collected))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"botocore=={LOWEST_BOTOCORE}"], check=True)
    check = SUPPORT / "endpoints" / "wire_check.py"
    answer = json.loads(subprocess.run([python, check, requests], check=True, capture_output=True).stdout)
    assert (answer["botocore"], answer["problems"]) == (LOWEST_BOTOCORE, [])
    assert answer["requests"] == len(collected) > 1000


def test_the_exact_requests_of_a_multi_model_endpoint():
    spec = multi("scoring", model_cache=False, tags={"team": "fraud"}, environment={"A": "1"})
    requests = spec.to_requests()
    model, config = requests.model_names[0], requests.config_name
    tags = [{"Key": "team", "Value": "fraud"}]
    marked = [*tags, {"Key": "mme_sdk:made_for", "Value": "scoring"}]
    assert requests.calls == (
        (
            "sagemaker",
            "create_model",
            {
                "ModelName": model,
                "ExecutionRoleArn": ROLE,
                "PrimaryContainer": {
                    "Image": IMAGE,
                    "Mode": "MultiModel",
                    "ModelDataUrl": "s3://ml-models/prod/",
                    "Environment": {"A": "1"},
                    "MultiModelConfig": {"ModelCacheSetting": "Disabled"},
                },
                "Tags": marked,
            },
        ),
        (
            "sagemaker",
            "create_endpoint_config",
            {
                "EndpointConfigName": config,
                "ProductionVariants": [
                    {
                        "VariantName": "AllTraffic",
                        "ModelName": model,
                        "InitialVariantWeight": 1.0,
                        "InstanceType": "ml.m5.xlarge",
                        "InitialInstanceCount": 2,
                    }
                ],
                "Tags": marked,
            },
        ),
        (
            "sagemaker",
            "create_endpoint",
            {"EndpointName": "scoring", "EndpointConfigName": config, "Tags": tags},
        ),
    )


def test_autoscaling_tracks_the_whole_instance():
    def tracking(**scaling):
        spec = multi("scoring", autoscaling=Autoscaling(min=2, max=8, **scaling))
        return dict(spec.to_requests().autoscaling)["put_scaling_policy"]["TargetTrackingScalingPolicyConfiguration"]

    # CloudWatch counts CPUUtilization as 0-100 for each core: 60 % of an ml.m5.xlarge with 4 cores is 240.
    assert tracking()["TargetValue"] == 240
    assert tracking(metric="cpu", target=50)["TargetValue"] == 200
    assert tracking(target=600)["TargetValue"] == 600
    assert Autoscaling.for_rps(min=1, max=2, rps=20).target == 600


def test_extra_passes_what_has_no_field_here_and_wins():
    serial, metrics = {"Mode": "Serial"}, {"EnableEnhancedMetrics": True}
    rollout = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}
    spec = attrs.evolve(
        multi("a"),
        extra={
            "CreateModel": {"InferenceExecutionConfig": serial},
            "CreateEndpointConfig": {"MetricsConfig": metrics},
            "CreateEndpoint": {"DeploymentConfig": rollout},
        },
    )
    requests = spec.to_requests()
    assert requests.models[0]["InferenceExecutionConfig"] == serial
    assert requests.config["MetricsConfig"] == metrics
    assert requests.endpoint["DeploymentConfig"] == rollout
    variant = attrs.evolve(multi("a").variants[0], extra={"InstanceType": "ml.g9.xlarge"})
    assert (
        attrs.evolve(spec, variants=(variant,)).to_requests().config["ProductionVariants"][0]["InstanceType"]
        == "ml.g9.xlarge"
    )


@given(NAMES, NAMES)
def test_names_belong_to_one_endpoint(one, other):
    name = derived_name(one, {"content": other})
    assert is_derived_name(one, name)
    assert (one == other) == is_derived_name(other, name)


def test_names_of_long_endpoints_stay_apart_and_short():
    long = ["a" * 62 + end for end in "xy"] + ["a" * 50, "b" * 63, "a-" * 31 + "a"]
    names = [derived_name(one, {}) for one in long]
    assert len({stem(one) for one in long}) == len(set(names)) == len(long)
    for one, name in zip(long, names, strict=True):
        assert len(name) <= 63
        assert is_derived_name(one, name)
        assert problems("sagemaker", "describe_endpoint_config", {"EndpointConfigName": name}) == []


def test_names_follow_the_content_and_nothing_else():
    assert multi("a").to_requests() == multi("a").to_requests()
    assert multi("a", tags={"x": "y"}).to_requests().config_name == multi("a").to_requests().config_name
    contents = [multi("a"), multi("a", instance_count=3), multi("a", environment={"A": "1"}), single("a")]
    assert len({one.to_requests().config_name for one in contents}) == len(contents)


def test_variants_of_one_model_share_it():
    first = multi("a").variants[0]
    spec = EndpointSpec(name="a", role=ROLE, variants=(attrs.evolve(first, name="A"), attrs.evolve(first, name="B")))
    assert len(spec.to_requests().models) == 1
