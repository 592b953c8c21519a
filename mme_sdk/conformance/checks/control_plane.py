"""Checks of the control plane; they need no endpoint in service."""

from __future__ import annotations

from typing import Any

from mme_sdk.conformance.account import Account
from mme_sdk.conformance.check import check, expect, expect_refusal

VALIDATION = "ValidationException"


def _model(account: Account) -> str:
    url = account.put_model("one/model.tar.gz", answer="one")
    return account.create_model(PrimaryContainer=account.container(url))


@check("6.1", "An endpoint name has at most 63 characters: letters, digits and inner hyphens.")
def a_name_that_is_too_long(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.sagemaker.create_endpoint(EndpointName="a" * 64, EndpointConfigName="absent"),
        code=VALIDATION,
        words=("63",),
    )


@check("6.4", 'DescribeEndpoint of an absent endpoint: ValidationException, Could not find endpoint "<arn>".')
def describe_an_absent_endpoint(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.sagemaker.describe_endpoint(EndpointName=account.name("absent")),
        code=VALIDATION,
        words=("Could not find endpoint",),
    )


@check("6.4", 'DescribeEndpointConfig of an absent one: Could not find endpoint configuration "<arn>".')
def describe_an_absent_configuration(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.sagemaker.describe_endpoint_config(EndpointConfigName=account.name("absent")),
        code=VALIDATION,
        words=("Could not find endpoint configuration",),
    )


@check("6.4", 'DescribeModel of an absent model: Could not find model "<arn>".')
def describe_an_absent_model(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.sagemaker.describe_model(ModelName=account.name("absent")),
        code=VALIDATION,
        words=("Could not find model",),
    )


@check("6.4", "DeleteEndpoint, DeleteEndpointConfig and DeleteModel of absent ones: ValidationException.")
def delete_what_is_absent(account: Account) -> Any:
    name = account.name("absent")
    sagemaker = account.sagemaker
    calls = {
        "DeleteEndpoint": lambda: sagemaker.delete_endpoint(EndpointName=name),
        "DeleteEndpointConfig": lambda: sagemaker.delete_endpoint_config(EndpointConfigName=name),
        "DeleteModel": lambda: sagemaker.delete_model(ModelName=name),
    }
    return {
        operation: expect_refusal(account, call, code=VALIDATION, words=("Could not find",))
        for operation, call in calls.items()
    }


@check("6.5", "CreateModel with a name that exists: ValidationException, Cannot create already existing model.")
def create_a_model_twice(account: Account) -> Any:
    url = account.put_model("one/model.tar.gz", answer="one")
    container = account.container(url)
    name = account.create_model(PrimaryContainer=container)
    return expect_refusal(
        account,
        lambda: account.sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=account.role, PrimaryContainer=container
        ),
        code=VALIDATION,
        words=("Cannot create already existing model",),
    )


@check("6.5", "CreateEndpointConfig with a name that exists: Cannot create already existing endpoint configuration.")
def create_a_configuration_twice(account: Account) -> Any:
    model = account.create_model(
        PrimaryContainer=account.container(account.put_model("one/model.tar.gz", answer="one"))
    )
    variant = account.variant(model)
    name = account.create_config(variant)
    return expect_refusal(
        account,
        lambda: account.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant]),
        code=VALIDATION,
        words=("Cannot create already existing endpoint configuration",),
    )


@check("6.4", "CreateEndpoint with an absent configuration: ValidationException.")
def create_an_endpoint_without_configuration(account: Account) -> Any:
    name = account.name("endpoint")
    return expect_refusal(
        account,
        lambda: account.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=account.name("absent")),
        code=VALIDATION,
        words=("Could not find endpoint configuration",),
    )


@check("6.4", "CreateEndpointConfig with an absent model: ValidationException.")
def create_a_configuration_without_model(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.create_config(account.variant(account.name("absent"))),
        code=VALIDATION,
        words=("Could not find model",),
    )


@check("6.2", "DeleteModel leaves the endpoint configuration that names the model.")
def deletes_do_not_cascade(account: Account) -> Any:
    model = account.create_model(
        PrimaryContainer=account.container(account.put_model("one/model.tar.gz", answer="one"))
    )
    config = account.create_config(account.variant(model))
    account.sagemaker.delete_model(ModelName=model)
    found = account.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    return expect(found["ProductionVariants"][0]["ModelName"] == model, {"ModelName": model})


def _refused_for_many(account: Account, **more: Any) -> Any:
    """A configuration that a multi-model container does not allow is refused when it, or its endpoint, is created."""
    url = f"s3://{account.bucket}/many/"
    model = account.create_model(PrimaryContainer=account.container(url, multi_model=True))
    variant = account.variant(model, **more.pop("variant", {}))
    for name in more.pop("without", ()):
        del variant[name]
    return expect_refusal(
        account, lambda: account.create_endpoint(account.create_config(variant, **more)), code=VALIDATION
    )


@check("1.7", "A multi-model endpoint has no asynchronous inference.")
def many_models_and_asynchronous_inference(account: Account) -> Any:
    places = {"OutputConfig": {"S3OutputPath": f"s3://{account.bucket}/answers/"}}
    return _refused_for_many(account, AsyncInferenceConfig=places)


@check("1.7", "A multi-model endpoint is not serverless.")
def many_models_and_serverless(account: Account) -> Any:
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1}}
    return _refused_for_many(account, variant=serverless, without=("InstanceType", "InitialInstanceCount"))


@check("1.7", "A multi-model container takes no ModelDataSource.")
def many_models_and_a_model_data_source(account: Account) -> Any:
    source = {
        "S3DataSource": {"S3Uri": f"s3://{account.bucket}/many/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    }
    container = {"Image": account.image, "Mode": "MultiModel", "ModelDataSource": source}
    return expect_refusal(account, lambda: account.create_model(PrimaryContainer=container), code=VALIDATION)


@check("13.1", "InferenceExecutionConfig.Mode=Direct needs a ContainerHostname for each container.")
def direct_containers_without_host_names(account: Account) -> Any:
    url = account.put_model("one/model.tar.gz", answer="one")
    containers = [account.container(url), account.container(url)]
    return expect_refusal(
        account,
        lambda: account.create_model(Containers=containers, InferenceExecutionConfig={"Mode": "Direct"}),
        code=VALIDATION,
    )


@check("6.10", "KmsKeyId is refused for an instance type whose storage is local NVMe.")
def a_key_for_local_storage(account: Account) -> Any:
    model = account.create_model(
        PrimaryContainer=account.container(account.put_model("one/model.tar.gz", answer="one"))
    )
    variant = account.variant(model, InstanceType="ml.g5.xlarge")
    key = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
    return expect_refusal(account, lambda: account.create_config(variant, KmsKeyId=key), code=VALIDATION)


@check("7.1", "RegisterScalableTarget of an absent endpoint: ValidationException.")
def autoscaling_of_an_absent_endpoint(account: Account) -> Any:
    return expect_refusal(
        account,
        lambda: account.autoscaling.register_scalable_target(
            ServiceNamespace="sagemaker",
            ResourceId=f"endpoint/{account.name('absent')}/variant/AllTraffic",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
            MinCapacity=1,
            MaxCapacity=2,
        ),
        code=VALIDATION,
    )
