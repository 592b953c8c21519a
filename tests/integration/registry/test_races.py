"""Races that the registry once lost; `tests/integration/attack/test_registry_races.py` has all pairs."""

from __future__ import annotations

from typing import Any

from mme_sdk.local.storage.s3 import S3Server
from tests.support.registry.race_operations import STARTS, after, sources
from tests.support.registry.races import race, racers


def test_two_processes(s3_server: S3Server, s3: Any, bucket_name: str) -> None:
    with sources(), racers(s3_server.endpoint_url) as processes:
        for start, operations in (
            ("two versions", ("alias v1", "delete v1")),
            ("two versions", ("register v1", "delete v1")),
            ("two versions", ("register_many", "delete all")),
            ("v1 deleted", ("register v1", "register other bytes as v1")),
            ("alias at v2, before at v1", ("rollback", "delete v1")),
        ):
            race(processes, s3, bucket_name, after(*STARTS[start]), operations, 5)
