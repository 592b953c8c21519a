"""Checks of a multi-model endpoint in service."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from mme_sdk.conformance.account import Account
from mme_sdk.conformance.check import check, expect, expect_refusal

INVALID = "ValidationError"


def _answer(account: Account, model: str, body: str = "{}", **more: Any) -> tuple[Any, Any]:
    """Invoke a model, again for as long as it loads; return the reply and its decoded body."""

    def read() -> Any:
        try:
            return account.invoke(account.multi_model, body, TargetModel=model, ContentType="application/json", **more)
        except account.ClientError as error:
            if error.response["Error"]["Code"] != "ModelNotReadyException":
                raise
            return None

    reply = account.until(read, timeout=360)
    return reply, json.loads(reply["Body"].read())


@check("2.1", "A multi-model endpoint comes into service over an empty prefix.", needs="multi_model")
def an_empty_prefix(account: Account) -> Any:
    description = account.sagemaker.describe_endpoint(EndpointName=account.multi_model)
    return expect(description["EndpointStatus"] == "InService", {"status": description["EndpointStatus"]})


@check("2.6", "An archive that is uploaded after the endpoint exists is invokable.", needs="multi_model", minutes=2)
def add_a_model(account: Account) -> Any:
    account.put_model("many/a.tar.gz", answer="a")
    first, body = _answer(account, "a.tar.gz")
    _, same = _answer(account, "a.tar.gz")
    seen = {"answer": body["answer"], "variant": first.get("InvokedProductionVariant"), "again": same["answer"]}
    return expect(seen == {"answer": "a", "variant": "AllTraffic", "again": "a"}, seen)


@check("2.2", "TargetModel is a key relative to the prefix, with folders.", needs="multi_model", minutes=2)
def a_model_in_a_folder(account: Account) -> Any:
    account.put_model("many/tenant/b.tar.gz", answer="b")
    _, body = _answer(account, "tenant/b.tar.gz")
    return expect(body["answer"] == "b", body)


@check("4.4", "InvokeEndpoint without TargetModel: ValidationError.", needs="multi_model")
def no_target_model(account: Account) -> Any:
    return expect_refusal(account, lambda: account.invoke(account.multi_model), code=INVALID, words=("target model",))


@check("4.5", "A TargetModel that is not in S3: ValidationError, Failed to download model data.", needs="multi_model")
def an_absent_archive(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.invoke(account.multi_model, TargetModel="absent.tar.gz"),
        code=INVALID,
        words=("Failed to download model data",),
    )


@check("4.6", "InvokeEndpoint of an absent endpoint: ValidationError, Endpoint X of account N not found.")
def invoke_an_absent_endpoint(account: Account) -> Any:
    return expect_refusal(
        account, lambda: account.invoke(account.name("absent")), code=INVALID, words=("Endpoint", "not found")
    )


@check("4.7", "An exception of the model: ModelError 424 with the container's status and message.", needs="multi_model")
def an_exception_in_the_model(account: Account) -> Any:
    account.put_model("many/a.tar.gz", answer="a")
    try:
        account.invoke(account.multi_model, "fail now", TargetModel="a.tar.gz", ContentType="application/json")
    except account.ClientError as error:
        response = error.response
        seen = {
            "code": response["Error"]["Code"],
            "status": response["ResponseMetadata"]["HTTPStatusCode"],
            "original_status": response.get("OriginalStatusCode"),
            "message": response["Error"].get("Message"),
            "has_log": bool(response.get("LogStreamArn")),
        }
        good = seen["code"] == "ModelError" and seen["status"] == 424 and seen["has_log"]
        return expect(good and isinstance(seen["original_status"], int), seen)
    return expect(False, {"accepted": True})


@check("4.1", "CustomAttributes reach the container; ContentType comes back from it.", needs="multi_model")
def headers_pass(account: Account) -> Any:
    account.put_model("many/a.tar.gz", answer="a")
    reply, body = _answer(account, "a.tar.gz", CustomAttributes="trace=1", InferenceId="id-1")
    seen = {"content_type": reply["ContentType"], "to_the_model": body["content_type"]}
    return expect(seen == {"content_type": "application/json", "to_the_model": "application/json"}, seen)


@check("4.2", "A TargetVariant that the endpoint does not have is refused.", needs="multi_model")
def an_absent_variant(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.invoke(account.multi_model, TargetModel="a.tar.gz", TargetVariant="absent"),
        code=INVALID,
    )


@check("1.7", "A multi-model endpoint does not stream.", needs="multi_model")
def no_stream_of_many_models(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.runtime.invoke_endpoint_with_response_stream(EndpointName=account.multi_model, Body=b"{}"),
        code=INVALID,
    )


@check("13.2", "InferenceComponentName is refused on an endpoint without components.", needs="multi_model")
def an_inference_component(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.invoke(account.multi_model, InferenceComponentName="absent"),
        code=INVALID,
    )


@check("13.1", "TargetContainerHostname is refused where the containers are not Direct.", needs="multi_model")
def a_container_of_an_endpoint_that_is_not_direct(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.invoke(account.multi_model, TargetModel="a.tar.gz", TargetContainerHostname="one"),
        code=INVALID,
    )


@check(
    "2.7", "A load of more than 60 s: ModelNotReadyException 429, and later an answer.", needs="multi_model", minutes=7
)
def a_slow_load(account: Account) -> Any:
    account.put_model("many/slow.tar.gz", answer="slow", load_seconds=account.slow_load)
    refused = expect_refusal(
        account,
        lambda: account.invoke(account.multi_model, TargetModel="slow.tar.gz"),
        code="ModelNotReadyException",
        status=429,
    )
    return expect(_answer(account, "slow.tar.gz")[1]["answer"] == "slow", {"first": refused})


@check("2.6", "Whether a loaded model answers after its archive was deleted from S3.", needs="multi_model", known=False)
def a_deleted_archive(account: Account) -> Any:
    account.put_model("many/gone.tar.gz", answer="gone")
    _answer(account, "gone.tar.gz")
    account.s3.delete_object(Bucket=account.bucket, Key="many/gone.tar.gz")
    try:
        return {"served": _answer(account, "gone.tar.gz")[1]["answer"] == "gone"}
    except account.ClientError as error:
        return {"served": False, "message": error.response["Error"].get("Message")}


@check(
    "2.6",
    "Whether a loaded model keeps its old content after its key was overwritten.",
    needs="multi_model",
    known=False,
)
def an_overwritten_archive(account: Account) -> Any:
    account.put_model("many/changed.tar.gz", answer="old")
    _answer(account, "changed.tar.gz")
    account.put_model("many/changed.tar.gz", answer="new")
    return {"answer": _answer(account, "changed.tar.gz")[1]["answer"]}


@check("8.1", "CloudWatch has Invocations and ModelCacheHit within minutes.", needs="multi_model", minutes=6)
def metrics_of_a_variant(account: Account) -> Any:
    account.put_model("many/a.tar.gz", answer="a")
    _answer(account, "a.tar.gz")
    dimensions = [
        {"Name": "EndpointName", "Value": account.multi_model},
        {"Name": "VariantName", "Value": "AllTraffic"},
    ]

    def total(metric: str) -> float:
        now = datetime.now(UTC)
        points = account.cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=dimensions,
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=["SampleCount"],
        )["Datapoints"]
        return float(sum(point["SampleCount"] for point in points))

    seen = {name: account.until(partial(total, name), timeout=300) for name in ("Invocations", "ModelCacheHit")}
    return expect(all(seen.values()), seen)


@check("6.9", "UpdateEndpoint during an update: Cannot update in-progress endpoint.", needs="multi_model", minutes=12)
def update_twice(account: Account) -> Any:
    config = account.sagemaker.describe_endpoint(EndpointName=account.multi_model)["EndpointConfigName"]
    model = account.sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]["ModelName"]
    other = account.create_config(account.variant(model))
    change = {"EndpointName": account.multi_model, "EndpointConfigName": other}
    sagemaker = account.sagemaker
    sagemaker.update_endpoint(**change)
    seen = expect_refusal(
        account,
        lambda: sagemaker.update_endpoint(**change),
        code="ValidationException",
        words=("Cannot update in-progress endpoint",),
    )
    account.in_service(account.multi_model)
    return seen


@check("6.5", "CreateEndpoint with a name that exists: Cannot create already existing endpoint.", needs="multi_model")
def create_an_endpoint_twice(account: Account) -> Any:
    config = account.sagemaker.describe_endpoint(EndpointName=account.multi_model)["EndpointConfigName"]
    return expect_refusal(
        account,
        lambda: account.sagemaker.create_endpoint(EndpointName=account.multi_model, EndpointConfigName=config),
        code="ValidationException",
        words=("Cannot create already existing endpoint",),
    )


@check("7.1", "A variant of a multi-model endpoint takes a target tracking policy.", needs="multi_model")
def target_tracking(account: Account) -> Any:
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{account.multi_model}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    account.keep(
        f"scalable target {target['ResourceId']}", lambda: account.autoscaling.deregister_scalable_target(**target)
    )
    account.autoscaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
    tracking = {
        "TargetValue": 1000.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    }
    made = account.autoscaling.put_scaling_policy(
        **target,
        PolicyName="calls",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=tracking,
    )
    return expect(":scalingPolicy:" in made["PolicyARN"], {"alarms": len(made.get("Alarms", ()))})
