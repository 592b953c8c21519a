"""A process that runs operations, each at the same time as the other processes."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any


def serve(url: str, orders: Connection, barrier: Barrier) -> None:
    """Run the operations that arrive on a pipe as (bucket, folder, operation), until None arrives."""
    sys.path.insert(0, str(Path(__file__).parents[3]))
    import boto3

    from mme_sdk.aws import Aws
    from mme_sdk.errors import MMEError
    from mme_sdk.registry import ModelRegistry
    from tests.support.registry.interleave import Client
    from tests.support.registry.race_operations import OPERATIONS, sources

    session = boto3.Session("local", "local-secret", region_name="us-east-1")
    aws = Aws(session=session, endpoint_url={"s3": url})
    with sources():
        while (order := orders.recv()) is not None:
            bucket, folder, operation = order
            client = Client(*(ModelRegistry(aws, f"s3://{bucket}/{folder}/{one}/")._operations for one in "pq"))
            outcome: Any
            barrier.wait(120)
            try:
                outcome = aws.run(OPERATIONS[operation](client))
            except MMEError as error:
                outcome = error
            orders.send(outcome)
    aws.close()
