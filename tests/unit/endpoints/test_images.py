"""Prebuilt images. The expected URIs are what `sagemaker.image_uris.retrieve` of sagemaker 2.257.7 answers."""

from __future__ import annotations

import pytest

from mme_sdk.endpoints.spec import images
from mme_sdk.errors import InvalidInputError

DLC = "763104351884.dkr.ecr.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("framework", "version", "region", "accelerator", "uri"),
    [
        (
            "sklearn",
            "1.2-1",
            "us-east-1",
            "cpu",
            "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
        ),
        (
            "xgboost",
            "1.7-1",
            "us-east-1",
            "cpu",
            "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
        ),
        ("pytorch", "2.6", "us-east-1", "gpu", f"{DLC}/pytorch-inference:2.6.0-gpu-py312"),
        ("tensorflow", "2.19", "us-east-1", "cpu", f"{DLC}/tensorflow-inference:2.19.0-cpu"),
        ("mxnet", "1.4.1", "us-east-1", "cpu", f"{DLC}/mxnet-inference:1.4.1-cpu-py3"),
        (
            "pytorch",
            "2.6.0",
            "cn-north-1",
            "cpu",
            "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/pytorch-inference:2.6.0-cpu-py312",
        ),
    ],
)
def test_uris_are_those_of_the_sagemaker_package(framework, version, region, accelerator, uri):
    assert images.retrieve(framework, version, region=region, accelerator=accelerator) == uri


def test_triton_has_no_processor_in_its_gpu_tags():
    gpu = images.retrieve("triton", "24.09", region="us-east-1", accelerator="gpu")
    assert gpu.endswith("/sagemaker-tritonserver:24.09-py3")
    assert images.retrieve("triton", "24.09", region="us-east-1").endswith(":24.09-py3-cpu")


def test_every_framework_has_a_newest_version_that_serves_many_models():
    for framework in images.frameworks():
        for accelerator in ("cpu",) if framework != "triton" else ("cpu", "gpu"):
            uri = images.retrieve(framework, region="eu-west-1", accelerator=accelerator)
            assert images.supports_multi_model(uri) is True
    assert "1.2-1" in images.versions("sklearn")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"framework": "skleran", "region": "eu-west-1"}, "there is no framework 'skleran'", "did you mean 'sklearn'"),
        ({"framework": "sklearn", "version": "9", "region": "eu-west-1"}, "no version of sklearn", "1.2-1"),
        ({"framework": "sklearn", "region": "mars-north-1"}, "no region for sklearn", "did you mean"),
        ({"framework": "sklearn", "region": "eu-west-1", "accelerator": "gpu"}, "no accelerator for sklearn", "cpu"),
    ],
)
def test_refusals_name_what_there_is(arguments, message, hint):
    with pytest.raises(InvalidInputError, match=message) as caught:
        images.retrieve(**arguments)
    assert hint in caught.value.hint


def test_what_a_name_tells_of_other_images():
    assert images.supports_multi_model("382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1") is False
    assert images.supports_multi_model(f"{DLC}/huggingface-pytorch-inference:2.6.0") is None
    assert images.supports_multi_model("123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1") is None
    assert images.supports_multi_model("my-image") is None
