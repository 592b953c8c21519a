"""Every pair of the registry's operations at the same moment: 2,000 races in two processes, and all orders of requests.

`MME_RACES` sets another number of races for each pair.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from mme_sdk.local.storage.s3 import S3Server
from tests.support.registry.race_operations import OPERATIONS, STARTS, after, check_operations, sources
from tests.support.registry.races import Racers, race, racers

RACES = int(os.environ.get("MME_RACES", "2000"))
# A deletion by force may leave an alias at nothing, as it says.
CHECKED = sorted(set(OPERATIONS) - {"delete v1 by force"})
RACED = sorted(set(CHECKED) - {"register by content", "alias v2", "alias v1 if v2"})
THREE = [
    ("register v1", "alias v1", "delete v1"),
    ("register v1", "register other bytes as v1", "delete v1"),
    ("alias v1", "alias v2", "delete v1"),
    ("rollback", "unalias", "delete v1"),
]

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def _sources() -> Iterator[None]:
    with sources():
        yield


@pytest.fixture(scope="module")
def processes(s3_server: S3Server) -> Iterator[Racers]:
    with racers(s3_server.endpoint_url) as found:
        yield found


@pytest.fixture
def s3(s3_server: S3Server, bucket_name: str) -> Iterator[Any]:
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        aws_access_key_id="local",
        aws_secret_access_key="local-secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket_name)
    yield client
    client.close()


@pytest.mark.parametrize("start", list(STARTS))
def test_every_pair_in_every_order(start: str) -> None:
    for pair in itertools.combinations_with_replacement(CHECKED, 2):
        check_operations(start, *pair)


@pytest.mark.parametrize("pair", list(itertools.combinations_with_replacement(RACED, 2)), ids=" + ".join)
def test_two_processes(pair: tuple[str, str], processes: Racers, s3: Any, bucket_name: str) -> None:
    starts = ["two versions", "v1 deleted", "alias at v2, before at v1", "copied"]
    for start in starts:
        race(processes, s3, bucket_name, after(*STARTS[start]), pair, -(-RACES // len(starts)))


@pytest.mark.parametrize("operations", THREE, ids=" + ".join)
def test_three_processes(operations: tuple[str, ...], s3_server: S3Server, s3: Any, bucket_name: str) -> None:
    start = "alias at v2, before at v1" if "rollback" in operations else "two versions"
    with racers(s3_server.endpoint_url, 3) as three:
        race(three, s3, bucket_name, after(*STARTS[start]), operations, RACES // 4)
