"""Specs as files: the requests recovered from each export are those that `apply` sends, or the export is refused."""

from __future__ import annotations

import json
import re
import sys
from unittest.mock import patch

import attrs
import pytest
from hypothesis import Phase, given, settings

from mme_sdk.endpoints import (
    AsyncInference,
    Autoscaling,
    BlueGreen,
    Container,
    EndpointSpec,
    FromZero,
    MetricsSettings,
    Rolling,
    Schedule,
    Tracking,
    Variant,
)
from mme_sdk.errors import InvalidInputError
from mme_sdk.exports import cdk_program, cloudformation_template, terraform_configuration
from tests.support.endpoints.helpers import IMAGE, ROLE, multi, single
from tests.support.endpoints.strategies import specs
from tests.unit.exports.recovery import expected, from_cdk, from_cloudformation, from_terraform

ARN = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NOT_IN_TERRAFORM = r"InstancePools|CapacityReservationConfig|MetricsConfig|ExplainerConfig|takes the ARN of a key"
FULL = multi(
    "scoring",
    environment={"LEVEL": "${HOME} %{if} $${a} \"'\\\n", "Refs": "1"},
    kms_key=ARN,
    tags={"team": "fraud"},
    deployment=BlueGreen(canary=10, wait=300, alarms=("scoring-5xx",), limit=3600),
    autoscaling=Autoscaling(
        min=1,
        max=8,
        target=600,
        more=(Tracking(metric="cpu", target=50),),
        schedule=(Schedule(name="night no", when="cron(0 22 * * ? *)", max=2, timezone="Asia/Tokyo"),),
    ),
)
QUEUE = single(
    "queue",
    async_inference=AsyncInference(output="s3://ml-models/out/", max_concurrent=4),
    autoscaling=Autoscaling(min=0, max=3, metric="backlog", target=5, from_zero=FromZero(minutes=3)),
    deployment=Rolling(batch=20, rollback_batch=100, limit=600),
)


def modules(changes):
    return patch.dict(sys.modules, changes)


@settings(deadline=None, max_examples=15, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(specs())
def test_each_export_stands_for_the_requests_of_apply(spec):
    requests = expected(spec)
    template = json.loads(json.dumps(cloudformation_template(spec)))
    assert from_cloudformation(template) == requests
    assert from_cdk(cdk_program(spec), modules) == requests
    try:
        configuration = terraform_configuration(spec)
    except InvalidInputError as error:
        assert re.search(NOT_IN_TERRAFORM, error.message)  # noqa: PT017 - another export of the same spec passes
    else:
        assert from_terraform(json.loads(json.dumps(configuration))) == requests


@pytest.mark.parametrize("spec", [FULL, QUEUE], ids=["full", "queue"])
def test_every_kind_of_resource(spec):
    requests = expected(spec)
    assert from_cloudformation(cloudformation_template(spec)) == requests
    assert from_terraform(terraform_configuration(spec)) == requests
    assert from_cdk(cdk_program(spec), modules) == requests


def test_terraform_creates_before_it_deletes_and_takes_templates_as_text():
    resources = terraform_configuration(FULL)["resource"]
    model = resources["aws_sagemaker_model"]["model_AllTraffic"]
    assert model["lifecycle"] == {"create_before_destroy": True}
    assert model["primary_container"]["environment"]["LEVEL"].startswith("$${HOME} %%{if} $$${a}")
    assert resources["aws_sagemaker_endpoint"]["endpoint"]["endpoint_config_name"] == (
        "${aws_sagemaker_endpoint_configuration.config.name}"
    )
    policies = terraform_configuration(QUEUE)["resource"]["aws_appautoscaling_policy"].values()
    (policy,) = [one for one in policies if one["policy_type"] == "StepScaling"]
    # The provider reads bounds back as text in this form; another one is a difference in each plan.
    assert policy["step_scaling_policy_configuration"]["step_adjustment"][0]["metric_interval_lower_bound"] == "0"


def test_variants_whose_names_have_the_same_letters_get_different_ids():
    container = Container(image=IMAGE, model_data="s3://ml-models/a.tar.gz")
    parts = [
        Variant(name=name, containers=(attrs.evolve(container, environment={"N": name}),), instance_type="ml.m5.large")
        for name in ("a-b", "ab", "Ab")
    ]
    spec = EndpointSpec(name="three", variants=tuple(parts), role=ROLE)
    template = cloudformation_template(spec)
    assert [name for name in template["Resources"] if name.startswith("Model")] == ["ModelAb", "ModelAbx2", "ModelAbx3"]
    assert from_cloudformation(template) == expected(spec) == from_cdk(cdk_program(spec), modules)


@pytest.mark.parametrize(
    ("export", "spec", "message"),
    [
        (
            terraform_configuration,
            multi("a", metrics=MetricsSettings()),
            "cannot express MetricsConfig of CreateEndpoi",
        ),
        (terraform_configuration, multi("a", kms_key="alias/mine"), "takes the ARN of a key for KmsKeyId"),
        (
            terraform_configuration,
            multi("a", deployment=BlueGreen(limit=28_800)),
            "at most 14400 seconds for DeploymentConfig.BlueGreenUpdatePolicy.MaximumExecutionTimeoutInSeconds",
        ),
        (
            cloudformation_template,
            multi("a", environment={"Ref": "b"}),
            "has the key 'Ref', which",
        ),
        (cdk_program, multi("a", environment={"Ref": "b"}), "PrimaryContainer.Environment has the key 'Ref'"),
        (terraform_configuration, "a", "spec must be an EndpointSpec"),
        (cdk_program, None, "spec must be an EndpointSpec"),
    ],
)
def test_what_a_tool_cannot_express_is_refused_by_name(export, spec, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        export(spec)
    assert caught.value.hint
