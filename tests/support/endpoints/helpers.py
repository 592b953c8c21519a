"""Specs, and the two shells behind one face."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from mme_sdk.aws import Aws
from mme_sdk.endpoints import AsyncEndpoint, AsyncEndpoints, EndpointSpec

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mme:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"


def multi(name: str, **changes: Any) -> EndpointSpec:
    words: dict[str, Any] = {
        "name": name,
        "models": "s3://ml-models/prod/",
        "image": IMAGE,
        "role": ROLE,
        "instance_type": "ml.m5.xlarge",
        "instance_count": 2,
    }
    return EndpointSpec.multi_model(**(words | changes))


def single(name: str, **changes: Any) -> EndpointSpec:
    words: dict[str, Any] = {
        "name": name,
        "artifact": "s3://ml-models/prod/fraud/v3.tar.gz",
        "image": IMAGE,
        "role": ROLE,
        "instance_type": "ml.c6i.large",
    }
    return EndpointSpec.single_model(**(words | changes))


class NoInvoker:
    """Handles of the control plane's tests do not invoke."""

    def __call__(self) -> NoInvoker:
        return self

    def invoke(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("not invoked here")


class Awaited:
    """An async object with its coroutines run to their end: what a suite over both shells calls."""

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self.inner = inner
        self.runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        return self._wrapped(found) if callable(found) else found

    def __repr__(self) -> str:
        return repr(self.inner).replace("AsyncEndpoint(", "Endpoint(")

    def _repr_html_(self) -> str:
        return self.inner._repr_html_()

    def _wrapped(self, method: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            if inspect.isawaitable(result):
                result = self.runner.run(_awaiting(result))
            if hasattr(result, "__aenter__"):
                return _Block(result, self.runner)
            return self._face(result)

        return call

    def _face(self, result: Any) -> Any:
        if isinstance(result, list):
            return [self._face(one) for one in result]
        return Awaited(result, self.runner) if isinstance(result, (AsyncEndpoint, AsyncEndpoints)) else result


class _Block:
    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self.inner = inner
        self.runner = runner

    def __enter__(self) -> Any:
        return Awaited(self.runner.run(self.inner.__aenter__()), self.runner)

    def __exit__(self, *exc: Any) -> Any:
        return self.runner.run(self.inner.__aexit__(*exc))


async def _awaiting(result: Any) -> Any:
    return await result


def resources(aws: Aws) -> dict[str, list[str]]:
    """The names of every endpoint, configuration and model there is."""
    client = aws.client("sagemaker")
    return {
        "endpoints": [one["EndpointName"] for one in client.list_endpoints()["Endpoints"]],
        "configs": [one["EndpointConfigName"] for one in client.list_endpoint_configs()["EndpointConfigs"]],
        "models": [one["ModelName"] for one in client.list_models()["Models"]],
    }


NOTHING: dict[str, list[str]] = {"endpoints": [], "configs": [], "models": []}
