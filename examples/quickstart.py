"""A multi-model endpoint from training to deletion, in the embedded SageMaker, without an AWS account.

The function `tour` runs unchanged against AWS, with `MMEClient()` as its client.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from skops.io import dump

from mme_sdk import Endpoint, EndpointSpec, MMEClient, Reply, Timeouts
from mme_sdk.errors import ModelNotFoundError
from mme_sdk.local import LocalSageMaker

TENANTS = 12
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sklearn-multi-model:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"

Rows = tuple[np.ndarray, np.ndarray]


def train(folder: Path, seed: int) -> Rows:
    """Train one tenant's classifier on 300 digits, save it, and return 100 other rows for the test."""
    images, digits = load_digits(return_X_y=True)
    mine = np.random.default_rng(seed).choice(len(images), 400, replace=False)
    train_rows, test_rows, train_digits, test_digits = train_test_split(
        images[mine], digits[mine], test_size=100, random_state=seed
    )
    model = LogisticRegression(C=0.05, max_iter=300).fit(train_rows / 16, train_digits)
    folder.mkdir(parents=True)
    dump(model, folder / "model.skops")
    return test_rows / 16, test_digits


def ask(endpoint: Endpoint, model: str | None, rows: Rows) -> tuple[Reply, float, float]:
    """Invoke once; return the reply, its latency in milliseconds, and the accuracy on the rows."""
    began = time.perf_counter()
    reply = endpoint.invoke(rows[0], model=model)
    took = (time.perf_counter() - began) * 1000
    return reply, took, float(np.mean(reply.numpy() == rows[1]))


def tour(client: MMEClient, bucket: str, work: Path) -> None:
    """Register models, create an endpoint, invoke it, change its models, and delete everything."""
    print(f"Training {TENANTS} classifiers, one per tenant …")
    tenants = [f"tenant-{number:02}" for number in range(1, TENANTS + 1)]
    held_out = {tenant: train(work / tenant, seed) for seed, tenant in enumerate(tenants)}

    models = client.models(f"s3://{bucket}/prod/")
    registered = {tenant: models.register(tenant, work / tenant, version="v1") for tenant in tenants}
    print(f"Registered {len(list(models.list()))} models under {models.uri}")

    spec = EndpointSpec.multi_model(
        name="scoring", models=models.uri, image=IMAGE, role=ROLE, instance_type="ml.m5.large", instance_count=2
    )
    endpoint = client.endpoints.create(spec, timeout=60)
    print(f"{endpoint!r}\n")

    print(f"{'tenant':<10}  {'target model':<22}  {'cold ms':>8}  {'warm ms':>8}  {'accuracy':>8}")
    for tenant, model in registered.items():
        _, cold, _ = ask(endpoint, model.target_model, held_out[tenant])
        _, warm, accuracy = ask(endpoint, model.target_model, held_out[tenant])
        print(f"{tenant:<10}  {model.target_model:<22}  {cold:>8.1f}  {warm:>8.1f}  {accuracy:>8.2f}")

    newcomer, rows = "tenant-13", train(work / "tenant-13", seed=13)
    added = models.register(newcomer, work / newcomer, version="v1")
    _, cold, accuracy = ask(endpoint, added.target_model, rows)
    print(f"\nAdded    {added.target_model}: answered in {cold:.1f} ms, accuracy {accuracy:.2f}; no endpoint update")

    changed = train(work / "tenant-01-again", seed=101)
    replaced = models.register("tenant-01", work / "tenant-01-again", version="v2")
    _, cold, accuracy = ask(endpoint, replaced.target_model, changed)
    print(f"Replaced {registered['tenant-01'].target_model} by {replaced.target_model}: {cold:.1f} ms, {accuracy:.2f}")

    retired = registered["tenant-12"]
    models.delete("tenant-12", "v1")
    try:
        endpoint.invoke(rows[0], model=retired)
    except ModelNotFoundError as error:
        print(f"Deleted  {retired.target_model}; an invocation of it raises:\n  {error}".replace("\n", "\n  "))
    else:
        raise SystemExit("the deleted model still answered")

    single = EndpointSpec.single_model(
        name="hot", artifact=replaced.uri, image=IMAGE, role=ROLE, instance_type="ml.c6i.large"
    )
    hot = client.endpoints.create(single, timeout=60)
    _, took, accuracy = ask(hot, None, changed)
    print(f"Single   {hot.name}: the same model on an endpoint of its own, {took:.1f} ms, accuracy {accuracy:.2f}")

    hot.delete()
    endpoint.delete()
    for version in models.list():
        models.delete(version.name, version.version)
    print(f"Removed  everything: {len(client.endpoints.list())} endpoints, {len(list(models.list()))} models left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="mme-demo-") as folder,
        LocalSageMaker(data_dir=Path(folder) / "aws") as aws,
    ):
        aws.session().client("s3", endpoint_url=aws.s3_endpoint_url).create_bucket(Bucket="ml-models")
        with aws.client(timeouts=Timeouts(deadline=60)) as client:
            tour(client, "ml-models", Path(folder))
    print(f"Took {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
