"""The flows behind `Endpoints` and `AsyncEndpoints`, with their arguments checked: one for both shells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from mme_sdk.aws import Flow, cleaned
from mme_sdk.endpoints.operations import apply as applying
from mme_sdk.endpoints.operations import create as creating
from mme_sdk.endpoints.operations import delete as deleting
from mme_sdk.endpoints.operations import migrate as migrating
from mme_sdk.endpoints.operations import scale as scaling
from mme_sdk.endpoints.operations import wait as waiting
from mme_sdk.endpoints.operations.apply import Plan
from mme_sdk.endpoints.operations.calls import Now, look_if_there
from mme_sdk.endpoints.operations.create import Creation
from mme_sdk.endpoints.operations.delete import Deletion
from mme_sdk.endpoints.operations.wait import ProgressCallback
from mme_sdk.endpoints.progress import callback
from mme_sdk.endpoints.spec import validators as check
from mme_sdk.endpoints.spec.deployment import Deployment
from mme_sdk.endpoints.spec.spec import Autoscaling, EndpointSpec, check_spec
from mme_sdk.endpoints.state import describe as reading
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.errors import ConfigurationError, ConflictError
from mme_sdk.protocols import ReadMetrics
from mme_sdk.types import ModelVersion

__all__: list[str] = []

Told = ProgressCallback | bool


@contextmanager
def _bounded(timeout: float, progress: Told) -> Iterator[ProgressCallback | None]:
    """What every wait needs, refused before anything is sent."""
    check.timeout(timeout)
    with callback(progress) as told:
        yield told


def describe(name: str) -> Flow[EndpointDescription]:
    """Read an endpoint and everything around it."""
    check.named("name", name)
    return (yield from reading.read_live(name)).description


def metrics(read: ReadMetrics | None, name: str, *, now: float, **window: Any) -> Flow[Any]:
    """What CloudWatch knows of an endpoint, by the reader that was handed in."""
    check.named("name", name)
    if read is None:
        raise ConfigurationError(
            "these endpoints were made without a reader of metrics", hint="use MMEClient.endpoints"
        )
    return (yield from read(name, now=datetime.fromtimestamp(now, UTC), **window))


def from_endpoint(name: str) -> Flow[EndpointSpec]:
    """The spec that would make a live endpoint."""
    check.named("name", name)
    return (yield from reading.read_live(name, all_tags=True)).spec()


def create_new(spec: EndpointSpec, *, timeout: float, now: Now) -> Flow[Creation]:
    """Create an endpoint that is deleted again at the end: never one that was there before."""
    check_spec(spec)
    check.timeout(timeout)
    exists = ConflictError(
        f"endpoint {spec.name} exists already; temporary() would delete it",
        hint="choose another name, or use endpoints.get(name)",
        endpoint=spec.name,
    )
    if (yield from look_if_there(spec.name)) is not None:
        raise exists
    try:
        creation = yield from creating.create(spec)
    except (Exception, GeneratorExit):
        raise  # what a failed creation had made is gone
    except BaseException as error:
        # Interrupted: the endpoint may have been made, and nobody would hold its handle.
        left = f"endpoint {spec.name} and what was made for it; delete() of its name removes them"
        yield from cleaned(deleting.delete(spec.name, timeout=timeout, now=now), error, left)
        raise
    if not creation.is_new:
        raise exists
    return creation


def wait(
    name: str, creation: Creation | None, *, timeout: float, now: Now, progress: Told
) -> Flow[EndpointDescription]:
    """Wait for an endpoint, or for its creation to be finished; then read the rest of it.

    Autoscaling that a creation in another process has left to whoever waits is attached.
    """
    with _bounded(timeout, progress) as told:
        if creation is not None and not creation.finished:
            yield from creating.finish(creation, timeout=timeout, now=now, progress=told)
        else:
            yield from waiting.until_settled(name, timeout=timeout, now=now, progress=told)
        live = yield from reading.read_live(name)
        if (yield from scaling.attach_pending(live)):
            live = yield from reading.read_live(name)
    return live.description


def delete(name: str, *, timeout: float, now: Now, dry_run: bool, progress: Told) -> Flow[Deletion]:
    """Delete an endpoint and what belongs to it."""
    check.named("name", name)
    with _bounded(timeout, progress) as told:
        return (yield from deleting.delete(name, timeout=timeout, now=now, dry_run=dry_run, progress=told))


def apply(
    wanted: EndpointSpec | Plan,
    *,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: Told,
    must_exist: bool = False,
) -> Flow[EndpointDescription]:
    """Create or update to match; then read what is there."""
    with _bounded(timeout, progress) as told:
        done = yield from applying.apply(
            wanted, deployment=deployment, timeout=timeout, now=now, progress=told, must_exist=must_exist
        )
    return (yield from describe(done.spec.name))


def rollback(
    name: str, *, to: str | None, deployment: Deployment | None, timeout: float, now: Now, progress: Told
) -> Flow[EndpointDescription]:
    """Go back to the configuration before; then read what is there."""
    check.named("name", name)
    if to is not None:
        check.named("to", to)
    with _bounded(timeout, progress) as told:
        yield from applying.rollback(name, to=to, deployment=deployment, timeout=timeout, now=now, progress=told)
    return (yield from describe(name))


def to_multi_model(
    name: str,
    models: str,
    *,
    target_model: str | None,
    instance_type: str | None,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: Told,
) -> Flow[EndpointDescription]:
    """Copy a single-model endpoint's archive under a prefix and serve it from there."""
    check.named("name", name)
    check.timeout(timeout)
    check.s3("models", models, 1024)
    spec = yield from migrating.to_multi_model(name, models, target_model, instance_type=instance_type)
    return (yield from apply(spec, deployment=deployment, timeout=timeout, now=now, progress=progress))


def to_single_model(
    name: str,
    model: str | ModelVersion,
    *,
    instance_type: str | None,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: Told,
) -> Flow[EndpointDescription]:
    """Serve one archive of a multi-model endpoint alone."""
    check.named("name", name)
    spec = yield from migrating.to_single_model(name, model, instance_type=instance_type)
    return (yield from apply(spec, deployment=deployment, timeout=timeout, now=now, progress=progress))


def scale(
    name: str, count: int, *, variant: str | None, timeout: float, now: Now, progress: Told
) -> Flow[EndpointDescription]:
    """Set a variant's instance count; then read what is there."""
    with _bounded(timeout, progress) as told:
        yield from scaling.scale(name, count, variant=variant, timeout=timeout, now=now, progress=told)
    return (yield from describe(name))


def reweigh(
    name: str, weights: Mapping[str, float], *, timeout: float, now: Now, progress: Told
) -> Flow[EndpointDescription]:
    """Set the variants' weights; then read what is there."""
    with _bounded(timeout, progress) as told:
        yield from scaling.reweigh(name, weights, timeout=timeout, now=now, progress=told)
    return (yield from describe(name))


def autoscale(name: str, wanted: Autoscaling | None, *, variant: str | None) -> Flow[EndpointDescription]:
    """Attach or take off autoscaling; then read what is there."""
    yield from scaling.autoscale(name, wanted, variant=variant)
    return (yield from describe(name))
