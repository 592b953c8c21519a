"""Flows behind the methods of `Endpoints` and `Endpoint`, sync and async: check the arguments, act, describe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from mme_sdk._validation import check_instance, check_number, check_resource_name
from mme_sdk.aws import Aws, Flow, cleaned
from mme_sdk.display.progress import ProgressOption, Reporter, check_progress, reporting
from mme_sdk.endpoints.operations import apply as _apply
from mme_sdk.endpoints.operations import complete_creation, migrate
from mme_sdk.endpoints.operations import create as _create
from mme_sdk.endpoints.operations import delete as _delete
from mme_sdk.endpoints.operations import orphans as _orphans
from mme_sdk.endpoints.operations import preflight as _preflight
from mme_sdk.endpoints.operations import rollback as _rollback
from mme_sdk.endpoints.operations import scale as _scale
from mme_sdk.endpoints.operations.calls import Now, describe_if_exists
from mme_sdk.endpoints.operations.create import Creation
from mme_sdk.endpoints.operations.create_resources import recreate_missing
from mme_sdk.endpoints.operations.wait import JUST_CREATED
from mme_sdk.endpoints.spec import validators
from mme_sdk.endpoints.spec.autoscaling import Autoscaling
from mme_sdk.endpoints.spec.deployment import Deployment
from mme_sdk.endpoints.spec.spec import EndpointSpec, HasUri, check_spec
from mme_sdk.endpoints.state.describe import list_all, read_live
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.errors import ConfigurationError, ConflictError
from mme_sdk.protocols import ReadMetrics
from mme_sdk.types import ModelVersion

__all__: list[str] = []


@contextmanager
def _reported(
    operation: str, name: str, timeout: float, now: Now, progress: ProgressOption
) -> Iterator[Reporter | None]:
    check_number("timeout", timeout, over=0, infinite=True)
    with reporting(progress, operation, name, timeout=timeout, now=now) as report:
        yield report


def describe(name: str) -> Flow[EndpointDescription]:
    """Describe an endpoint with its configuration, models, autoscaling and tags."""
    check_resource_name("name", name)
    return (yield from read_live(name)).description


def list_endpoints(name_contains: str | None) -> Flow[list[EndpointDescription]]:
    """List endpoints, newest first."""
    return (yield from list_all(name_contains))


def metrics(read: ReadMetrics | None, name: str, *, hours: float, variant: str, period: int, now: float) -> Flow[Any]:
    """Read an endpoint's metrics from CloudWatch with the given reader."""
    check_resource_name("name", name)
    if read is None:
        raise ConfigurationError(
            "this Endpoints object was made without read_metrics, so that it cannot read CloudWatch",
            hint="use MMEClient.endpoints",
        )
    return (yield from read(name, hours=hours, variant=variant, period=period, now=datetime.fromtimestamp(now, UTC)))


def diagnose(
    name: str,
    *,
    hours: float,
    recordings: Any,
    prices: Mapping[str, float] | None,
    quotas: Mapping[str, int] | None,
    key: str,
    aws: Aws,
    now: float,
) -> Flow[Any]:
    """Find what is wrong with an endpoint."""
    # Imported here: no other operation needs the rules and the registry.
    from mme_sdk.endpoints.state.observe import diagnose

    check_resource_name("name", name)
    end = datetime.fromtimestamp(now, UTC)
    return (
        yield from diagnose(
            name, hours=hours, recordings=recordings, prices=prices, quotas=quotas, key=key, aws=aws, end=end
        )
    )


def cost(
    name: str,
    *,
    by: Any,
    hours: float,
    recordings: Any,
    prices: Mapping[str, float],
    memory_share: float,
    currency: str,
    now: float,
) -> Flow[Any]:
    """Return what each model or tenant of an endpoint costs."""
    from mme_sdk.endpoints.state.cost import cost  # imported here: no other operation needs recordings

    check_resource_name("name", name)
    end = datetime.fromtimestamp(now, UTC)
    return (
        yield from cost(
            name, by=by, hours=hours, recordings=recordings, prices=prices, memory_share=memory_share,
            currency=currency, end=end,
        )
    )  # fmt: skip


def from_endpoint(name: str) -> Flow[EndpointSpec]:
    """Return the spec of a live endpoint."""
    check_resource_name("name", name)
    return (yield from read_live(name, all_tags=True)).spec()


def preflight(spec: EndpointSpec, region: str) -> Flow[_preflight.Preflight]:
    """Check what a spec refers to."""
    return (yield from _preflight.preflight(spec, region))


def create(
    spec: EndpointSpec,
    *,
    wait: bool,
    timeout: float,
    now: Now,
    progress: ProgressOption,
    region: str | None = None,
) -> Flow[tuple[EndpointDescription | None, Creation | None]]:
    """Create an endpoint; return its description, or the creation if it is not waited for.

    What the spec refers to is checked first if the region is given.
    """
    check_instance("wait", wait, bool)
    check_spec(spec)
    with _reported("create", spec.name, timeout, now, progress) as report:
        if region is not None and (yield from describe_if_exists(spec.name)) is None:
            if report is not None:
                report(doing="checking the role, the models and the image")
            yield from _preflight.check_references(spec, region)
        if wait:
            yield from _create.create(spec, timeout=timeout, now=now, progress=report)
            return (yield from describe(spec.name)), None
        creation = yield from _create.begin(spec, now=now)
        return creation.seen, creation


def create_temporary(spec: EndpointSpec, *, timeout: float, now: Now, progress: ProgressOption) -> Flow[Creation]:
    """Begin the creation of an endpoint that is deleted later; raise ConflictError if it exists."""
    check_spec(spec)
    check_progress(progress)  # that of the wait that follows
    check_number("timeout", timeout, over=0, infinite=True)
    exists = ConflictError(
        f"endpoint {spec.name} exists; temporary() would delete it at the end",
        hint="choose another name, or use endpoints.get(name)",
        endpoint=spec.name,
    )
    if (yield from describe_if_exists(spec.name)) is not None:
        raise exists
    try:
        creation = yield from _create.begin(spec, now=now)
    except (Exception, GeneratorExit):
        raise  # a failed creation has removed what it made
    except BaseException as error:
        # Interrupted: the endpoint may exist, and the caller would get no handle to delete it.
        left = f"endpoint {spec.name} and what was made for it; delete() of its name removes them"
        yield from cleaned(_delete.delete(spec.name, timeout=timeout, now=now), error, left)
        raise
    if not creation.is_new:
        raise exists
    return creation


def wait(
    name: str, creation: Creation | None, *, timeout: float, now: Now, progress: ProgressOption
) -> Flow[EndpointDescription]:
    """Wait until an endpoint is in service; complete its creation if its tags say that it is not complete."""
    with _reported("wait", name, timeout, now, progress) as report:
        just_created = creation is not None and creation.is_new and now() - creation.began < JUST_CREATED
        yield from complete_creation.settle(name, timeout=timeout, now=now, progress=report, just_created=just_created)
    live = yield from read_live(name)
    if (yield from complete_creation.attach_pending(live)):
        if creation is not None:
            requests = creation.spec.to_requests()
            if requests.config_name == live.description.config_name:
                yield from recreate_missing(requests, name)
        live = yield from read_live(name)
    return live.description


def delete(
    name: str, *, timeout: float, now: Now, dry_run: bool, progress: ProgressOption
) -> Flow[_delete.EndpointDeletion]:
    """Delete an endpoint and what belongs to it."""
    check_resource_name("name", name)
    with _reported("delete", name, timeout, now, progress) as report:
        return (yield from _delete.delete(name, timeout=timeout, now=now, dry_run=dry_run, progress=report))


def orphans(*, now: Now, progress: ProgressOption) -> Flow[list[_orphans.Orphan]]:
    """List configurations and models that no endpoint uses."""
    with reporting(progress, "orphans", "of the account", now=now) as report:
        return (yield from _orphans.find(report))


def remove_orphans(
    found: Iterable[_orphans.Orphan], names: Iterable[str], *, now: Now, progress: ProgressOption
) -> Flow[tuple[_orphans.Orphan, ...]]:
    """Delete orphans."""
    with reporting(progress, "remove_orphans", "of the account", unit="resource", now=now) as report:
        return (yield from _orphans.remove_all(found, names, report))


def plan(spec: EndpointSpec) -> Flow[_apply.EndpointPlan]:
    """Return the changes that `apply` would make."""
    return (yield from _apply.plan(spec))


def apply(
    wanted: EndpointSpec | _apply.EndpointPlan,
    *,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: ProgressOption,
    must_exist: bool = False,
    operation: str = "apply",
) -> Flow[EndpointDescription]:
    """Create or change an endpoint to match a spec."""
    spec = wanted.spec if isinstance(wanted, _apply.EndpointPlan) else wanted
    check_spec(spec)
    with _reported(operation, spec.name, timeout, now, progress) as report:
        done = yield from _apply.apply(
            wanted, deployment=deployment, timeout=timeout, now=now, progress=report, must_exist=must_exist
        )
    return (yield from describe(done.spec.name))


def rollback(
    name: str, *, to: str | None, deployment: Deployment | None, timeout: float, now: Now, progress: ProgressOption
) -> Flow[EndpointDescription]:
    """Update an endpoint to its earlier configuration."""
    check_resource_name("name", name)
    if to is not None:
        check_resource_name("to", to)
    with _reported("rollback", name, timeout, now, progress) as report:
        yield from _rollback.rollback(name, to=to, deployment=deployment, timeout=timeout, now=now, progress=report)
    return (yield from describe(name))


def to_multi_model(
    name: str,
    models: str | HasUri,
    *,
    target_model: str | None,
    instance_type: str | None,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: ProgressOption,
) -> Flow[EndpointDescription]:
    """Copy a single-model endpoint's archive under a prefix and serve it from there."""
    check_resource_name("name", name)
    check_number("timeout", timeout, over=0, infinite=True)
    check_progress(progress)
    prefix = validators.address("models", models)
    validators.s3("models", prefix, 1024)
    spec = yield from migrate.to_multi_model(name, prefix, target_model, instance_type=instance_type)
    return (
        yield from apply(
            spec, deployment=deployment, timeout=timeout, now=now, progress=progress, operation="to_multi_model"
        )
    )


def to_single_model(
    name: str,
    model: str | ModelVersion,
    *,
    instance_type: str | None,
    deployment: Deployment | None,
    timeout: float,
    now: Now,
    progress: ProgressOption,
) -> Flow[EndpointDescription]:
    """Serve one archive of a multi-model endpoint alone."""
    check_resource_name("name", name)
    check_number("timeout", timeout, over=0, infinite=True)
    check_progress(progress)
    spec = yield from migrate.to_single_model(name, model, instance_type=instance_type)
    return (
        yield from apply(
            spec, deployment=deployment, timeout=timeout, now=now, progress=progress, operation="to_single_model"
        )
    )


def scale(
    name: str,
    count: int,
    *,
    variant: str | None,
    replace: bool,
    timeout: float,
    now: Now,
    progress: ProgressOption,
) -> Flow[EndpointDescription]:
    """Set a variant's instance count; with `replace`, by an update that starts new instances."""
    check_instance("replace", replace, bool)
    with _reported("scale", name, timeout, now, progress) as report:
        if replace:
            spec = yield from _scale.resized(name, count, variant=variant)
            yield from _apply.apply(
                spec, deployment=None, timeout=timeout, now=now, progress=report, must_exist=True, replace=True
            )
        else:
            yield from _scale.scale(name, count, variant=variant, timeout=timeout, now=now, progress=report)
    return (yield from describe(name))


def set_weights(
    name: str, weights: Mapping[str, float], *, timeout: float, now: Now, progress: ProgressOption
) -> Flow[EndpointDescription]:
    """Set the variants' weights."""
    with _reported("weights", name, timeout, now, progress) as report:
        yield from _scale.set_weights(name, weights, timeout=timeout, now=now, progress=report)
    return (yield from describe(name))


def autoscale(name: str, wanted: Autoscaling | None, *, variant: str | None) -> Flow[EndpointDescription]:
    """Attach or detach autoscaling."""
    yield from _scale.autoscale(name, wanted, variant=variant)
    return (yield from describe(name))
