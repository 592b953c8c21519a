"""What nobody should give is refused in words, never by an error of another kind."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mme_sdk.endpoints import Autoscaling, DataCapture, EndpointSpec, Serverless, policies
from mme_sdk.endpoints.spec import images
from mme_sdk.errors import InvalidInputError
from tests.support.endpoints.helpers import multi, single

HOST = {"region": "us-east-1"}


def odd(**extra: Any) -> EndpointSpec:
    return multi("a", extra=extra)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: multi("a").to_yaml("/no/such/folder/a.yaml"), "/no/such/folder/a.yaml cannot be written"),
        (
            lambda: odd(CreateModel={"A": object()}),
            "extra.CreateModel: CreateModelInput of SageMaker has no member 'A'",
        ),
        (lambda: EndpointSpec.from_yaml(5), "source must be a path or text, not 5"),
        (lambda: EndpointSpec.from_yaml("a\0b"), "cannot be read"),
        (lambda: DataCapture(destination="s3://abc/x", capture=[["x"]]), "capture: items must be Input"),
        (lambda: DataCapture(destination="s3://abc/x", csv_types=[5]), "csv_types: media types must be text, not 5"),
        (lambda: DataCapture(destination="s3://abc/x", json_types=[5]), "json_types: media types must be text, not 5"),
        (lambda: Autoscaling.for_rps(min=1, max=2, rps=None), "rps must be a finite number over 0, not None"),
        (
            lambda: Autoscaling.for_rps(min=1, max=2, rps=1, safety="x"),
            "safety must be a finite number over 0, not 'x'",
        ),
        (lambda: Serverless(memory_mb=2048.0), "Serverless.memory_mb must be one of 1024"),
        (lambda: policies.invoker("a", target_models=5), "target_models: no target model can match 5"),
        (lambda: policies.execution_role("s3://abc/x", image=5), "image must be an image URI in ECR, not 5"),
        (lambda: policies.execution_role("s3://abc/x", kms_key=5), "kms_key must be the ARN of a key, not 5"),
        (lambda: images.retrieve("sklearn", ["1.2-1"], **HOST), "there is no version of sklearn ['1.2-1']"),
        (lambda: images.retrieve(["sklearn"], **HOST), "there is no framework ['sklearn']"),
        (lambda: images.supports_multi_model(5), "uri must be an image URI, not 5"),
        (lambda: odd(CreateModel={"A": {1: 2, "b": 3}}), "extra.CreateModel.A: keys must be text, not 1"),
        (lambda: odd(CreateModel={"ModelName": "mine"}), "extra.CreateModel: ModelName cannot be set here"),
        (lambda: odd(CreateEndpointConfig={"EndpointConfigName": "mine"}), "EndpointConfigName cannot be set here"),
        (lambda: odd(CreateEndpoint={"EndpointName": "other"}), "EndpointName cannot be set here"),
        (lambda: odd(CreateEndpointConfig={"DataCaptureConfig": {}}), "DataCaptureConfig is not available with multi"),
        (lambda: odd(CreateEndpointConfig={"AsyncInferenceConfig": {}}), "AsyncInferenceConfig is not available"),
        (lambda: odd(CreateEndpointConfig={"ShadowProductionVariants": []}), "ShadowProductionVariants is not avail"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        make()


def test_what_only_multi_model_endpoints_lack_passes_with_single_model_ones():
    shadow = [{"VariantName": "shadow", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
    spec = single("a", extra={"CreateEndpointConfig": {"ShadowProductionVariants": shadow}})
    assert spec.to_requests().config["ShadowProductionVariants"] == shadow


def test_junk_given_to_the_verbs_is_refused(collection, name):
    with pytest.raises(InvalidInputError, match="orphans must come from endpoints"):
        collection.remove_orphans(5)
    with pytest.raises(InvalidInputError, match="names must be a name, not 5"):
        collection.remove_orphans(names=[5])
    with pytest.raises(InvalidInputError, match="deployment must be BlueGreen"):
        collection.apply(multi(name), deployment="fast", timeout=60)
    with pytest.raises(InvalidInputError, match="name"):
        collection.list(5)
    with pytest.raises(InvalidInputError, match="to must be a name"):
        collection.handle(name).rollback(5)
    assert collection.list() == []
