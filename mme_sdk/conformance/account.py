"""The AWS account that the checks run in: clients, and every resource that they create, removed at the end."""

from __future__ import annotations

import io
import json
import re
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from mme_sdk.aws import Aws
from mme_sdk.errors import WaitTimeoutError
from mme_sdk.protocols import Clock

__all__ = ["SCRIPT", "Account"]

_ABSENT = re.compile(r"Could not find|NoSuchBucket")  # removed by a check, or never created
_POLL = 5.0  # seconds between two DescribeEndpoint calls on AWS
_DELETION = 900.0  # seconds that an endpoint may take to be deleted
SCRIPT = '''"""Answers as the request says, so that one container shows every behaviour."""
import json, os, time

def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.json")) as file:
        model = json.load(file)
    time.sleep(model.get("load_seconds", 0))
    return model

def input_fn(body, content_type):
    return {"body": body if isinstance(body, str) else body.decode("latin-1"), "content_type": content_type}

def predict_fn(data, model):
    if data["body"].startswith("fail"):
        raise RuntimeError("the model refuses " + data["body"])
    return {"answer": model["answer"], "content_type": data["content_type"], "characters": len(data["body"])}

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
'''


class Account:
    """An account to try things in. Each resource has a name of this run; `close` removes all of them.

    Args:
        aws: Connections to AWS, with one attempt for each call.
        role: Execution role of the models, an ARN.
        image: Image of a container that serves multi-model endpoints.
        instance_type: Instance type of the endpoints.
        clock: Time and sleep.
        poll: Seconds between two reads of a status.
        slow_load: Seconds that the slow model loads: longer than SageMaker waits before it answers 429.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        role: str,
        image: str,
        instance_type: str,
        clock: Clock | None = None,
        poll: float = _POLL,
        slow_load: float = 100.0,
    ) -> None:
        self.run = f"mme-conformance-{uuid.uuid4().hex[:10]}"
        self.role = role
        self.image = image
        self.instance_type = instance_type
        self.slow_load = slow_load
        self._aws = aws
        self._clock: Clock = clock or aws.clock
        self._poll = poll
        self._created: dict[str, Callable[[], Any]] = {}
        self._numbers = iter(range(1_000_000))

    @cached_property
    def sagemaker(self) -> Any:
        """The boto3 client of SageMaker."""
        return self._aws.client("sagemaker")

    @cached_property
    def runtime(self) -> Any:
        """The boto3 client of SageMaker Runtime."""
        return self._aws.client("sagemaker-runtime")

    @cached_property
    def s3(self) -> Any:
        """The boto3 client of S3."""
        return self._aws.client("s3")

    @cached_property
    def autoscaling(self) -> Any:
        """The boto3 client of Application Auto Scaling."""
        return self._aws.client("application-autoscaling")

    @cached_property
    def cloudwatch(self) -> Any:
        """The boto3 client of CloudWatch."""
        return self._aws.client("cloudwatch")

    @cached_property
    def ClientError(self) -> Any:  # noqa: N802 - botocore's name
        """The exception class of botocore for refused calls."""
        return self.sagemaker.exceptions.ClientError

    def name(self, what: str) -> str:
        """Return a new name of this run."""
        return f"{self.run}-{what}-{next(self._numbers)}"

    def keep(self, label: str, remove: Callable[[], Any]) -> None:
        """Register a resource that `close` removes. Call this before the creation, in case of an interruption."""
        self._created[label] = remove

    @cached_property
    def bucket(self) -> str:
        """A bucket of this run."""
        region = self._aws.region
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.keep(f"bucket {self.run}", self._remove_bucket)
        self.s3.create_bucket(Bucket=self.run, **place)
        return self.run

    def _remove_bucket(self) -> None:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.run)
        for item in (item for page in pages for item in page.get("Contents", ())):
            self.s3.delete_object(Bucket=self.run, Key=item["Key"])
        self.s3.delete_bucket(Bucket=self.run)

    def put_model(self, key: str, *, answer: str, load_seconds: float = 0.0) -> str:
        """Upload an archive whose model gives `answer` after a load of `load_seconds`; return its S3 address."""
        data = io.BytesIO()
        files = {
            "model.json": json.dumps({"answer": answer, "load_seconds": load_seconds}),
            "code/inference.py": SCRIPT,
        }
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            for path, text in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data.getvalue())
        return f"s3://{self.bucket}/{key}"

    def container(self, url: str, *, multi_model: bool = False, **more: Any) -> dict[str, Any]:
        """Return a ContainerDefinition."""
        environment = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
        mode = "MultiModel" if multi_model else "SingleModel"
        return {"Image": self.image, "ModelDataUrl": url, "Mode": mode, "Environment": environment, **more}

    def create_model(self, **params: Any) -> str:
        """Create a model and note it; return its name."""
        name = self.name("model")
        self.keep(f"model {name}", lambda: self.sagemaker.delete_model(ModelName=name))
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=self.role, **params)
        return name

    def variant(self, model: str, **more: Any) -> dict[str, Any]:
        """Return a ProductionVariant with one instance."""
        return {
            "VariantName": "AllTraffic",
            "ModelName": model,
            "InstanceType": self.instance_type,
            "InitialInstanceCount": 1,
            **more,
        }

    def create_config(self, variant: Mapping[str, Any], **more: Any) -> str:
        """Create an endpoint configuration and note it; return its name."""
        name = self.name("config")
        self.keep(
            f"endpoint configuration {name}", lambda: self.sagemaker.delete_endpoint_config(EndpointConfigName=name)
        )
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[dict(variant)], **more)
        return name

    def create_endpoint(self, config: str) -> str:
        """Create an endpoint and note it; return its name without waiting."""
        name = self.name("endpoint")
        self.keep(f"endpoint {name}", lambda: self._remove_endpoint(name))
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return name

    def _remove_endpoint(self, name: str) -> None:
        self.wait(name, until=lambda status: status not in {"Creating", "Updating", "RollingBack"})
        self.sagemaker.delete_endpoint(EndpointName=name)

    def wait(
        self, name: str, *, timeout: float = 1800.0, until: Callable[[str], bool] | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        """Wait until an endpoint is in service or failed.

        Args:
            name: EndpointName.
            timeout: Seconds.
            until: Which statuses end the wait; InService, Failed and OutOfService where None.

        Returns:
            The last description, and the statuses seen in order.

        Raises:
            WaitTimeoutError: The time is over.
        """
        ends = self._clock.monotonic() + timeout
        done = until or (lambda status: status in {"InService", "Failed", "OutOfService"})
        seen: list[str] = []
        while True:
            description: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
            status = description["EndpointStatus"]
            if not seen or seen[-1] != status:
                seen.append(status)
            if done(status):
                return description, seen
            if self._clock.monotonic() > ends:
                raise WaitTimeoutError(f"{name} is still {status} after {timeout:g} s", endpoint=name)
            self._clock.sleep(self._poll)

    def until(self, read: Callable[[], Any], *, timeout: float) -> Any:
        """Read again until something true comes back or the time is over; return the last answer.

        Args:
            read: Reads.
            timeout: Seconds.
        """
        ends = self._clock.monotonic() + timeout
        while not (found := read()) and self._clock.monotonic() < ends:
            self._clock.sleep(self._poll)
        return found

    @cached_property
    def multi_model(self) -> str:
        """A multi-model endpoint in service, over an empty prefix."""
        url = f"s3://{self.bucket}/many/"
        model = self.create_model(PrimaryContainer=self.container(url, multi_model=True))
        name = self.create_endpoint(self.create_config(self.variant(model)))
        self.in_service(name)
        return name

    @cached_property
    def single_model(self) -> str:
        """A single-model endpoint in service."""
        model = self.create_model(PrimaryContainer=self.container(self.put_model("one/model.tar.gz", answer="one")))
        name = self.create_endpoint(self.create_config(self.variant(model)))
        self.in_service(name)
        return name

    @cached_property
    def asynchronous(self) -> str:
        """An endpoint with asynchronous inference, in service."""
        model = self.create_model(PrimaryContainer=self.container(self.put_model("one/model.tar.gz", answer="one")))
        places = {
            "S3OutputPath": f"s3://{self.bucket}/answers/",
            "S3FailurePath": f"s3://{self.bucket}/failures/",
        }
        config = self.create_config(self.variant(model), AsyncInferenceConfig={"OutputConfig": places})
        name = self.create_endpoint(config)
        self.in_service(name)
        return name

    def in_service(self, name: str) -> None:
        """Wait until an endpoint is in service.

        Raises:
            RuntimeError: It failed.
        """
        description, _ = self.wait(name)
        if description["EndpointStatus"] != "InService":
            raise RuntimeError(f"{name}: {description['EndpointStatus']}: {description.get('FailureReason')}")

    def invoke(self, endpoint: str, body: bytes | str = "{}", **more: Any) -> Any:
        """Make one InvokeEndpoint call."""
        return self.runtime.invoke_endpoint(EndpointName=endpoint, Body=body, **more)

    def close(self) -> dict[str, str]:
        """Remove everything that this run has created, last first, and wait until the endpoints are gone.

        Returns:
            What could not be removed, with the reason.
        """
        left: dict[str, str] = {}
        for label, remove in reversed(list(self._created.items())):
            try:
                remove()
            except Exception as error:  # noqa: BLE001 - the rest has to go too; the report names this one
                if _ABSENT.search(str(error)) is None:
                    left[label] = f"{type(error).__name__}: {error}"
        if any(label.startswith("endpoint ") for label in self._created):
            try:
                self.until(lambda: not self._deleting(), timeout=_DELETION)
                for name in self._deleting():
                    left[f"endpoint {name}"] = f"it is still being deleted after {_DELETION:g} s"
            except self.ClientError as error:
                left["endpoints"] = f"their deletion was requested and cannot be followed: {error}"
        return left

    def _deleting(self) -> list[str]:
        pages = self.sagemaker.get_paginator("list_endpoints").paginate(NameContains=self.run, StatusEquals="Deleting")
        return [one["EndpointName"] for page in pages for one in page["Endpoints"]]

    @contextmanager
    def closing(self, left: dict[str, str]) -> Iterator[Account]:
        """Close at the end of a `with` block, also after Ctrl-C; add the resources that were not removed to `left`."""
        try:
            yield self
        finally:
            left.update(self.close())
