"""One host for all examples, and the two ways to use it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mme_sdk.local import ControlSettings, LocalSageMaker
from mme_sdk.local.containers import multi_model_server, triton
from tests.soak.examples_aws.ways import BUCKET, Way, WithBoto3, WithSdk

TRITON = Path(os.environ.get("MME_CONTAINERS_PYTHON", ".venv-containers/bin/python")).absolute()
HANDLER = Path(__file__).parent / "service" / "catboost_handler.py"


@pytest.fixture(scope="session")
def host() -> Iterator[LocalSageMaker]:
    control = ControlSettings(provisioning=0.02, scaling=0.02, deletion=0.02, minute=0.3)
    images = {
        "*/catboost-multi-model:*": multi_model_server(sys.executable, handler=HANDLER),
        "*/sagemaker-tritonserver:*": triton(TRITON),
    }
    with LocalSageMaker(control=control, images=images) as host:
        s3 = host.boto("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.close()
        yield host


@pytest.fixture(params=["boto3", "mme_sdk"])
def way(host: LocalSageMaker, request: pytest.FixtureRequest) -> Iterator[Way]:
    """Deploy with one of the two. What the test has made is deleted after it."""
    way = WithBoto3(host) if request.param == "boto3" else WithSdk(host.client())
    yield way
    way.close()
