"""Find and delete configurations and models that no endpoint uses."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import attrs

from mme_sdk._validation import check_resource_name
from mme_sdk.aws import Flow
from mme_sdk.display.progress import Reporter
from mme_sdk.endpoints.operations.calls import describe_if_exists, gather, none_if_missing, paginate, sagemaker_call
from mme_sdk.endpoints.operations.create_resources import restore_used
from mme_sdk.endpoints.spec import validators
from mme_sdk.endpoints.state import content, ownership
from mme_sdk.endpoints.state.ownership import DescribedResource
from mme_sdk.endpoints.state.resources import Resource, delete_call
from mme_sdk.errors import InvalidInputError

__all__ = ["Orphan", "find", "remove_all"]


@attrs.frozen(kw_only=True)
class Orphan:
    """A configuration or model that no endpoint uses.

    Attributes:
        kind: `config` or `model`.
        name: Name of the resource.
        created: Time of creation. Default: None, unknown.
        made_for: The endpoint that this SDK made it for. Default: None, made by hand or by another tool. Batch
            transform jobs may use such models.
    """

    kind: Literal["config", "model"]
    name: str
    created: datetime | None = None
    made_for: str | None = None


def find(report: Reporter | None = None) -> Flow[list[Orphan]]:
    """Return all configurations that no endpoint uses, and all models that only such configurations use; oldest first.

    The configuration that an endpoint's last update replaced is left out, because `rollback` needs it.
    """
    found, _ = yield from _survey(report)
    return [_orphan(one) for one in found]


def _orphan(found: DescribedResource) -> Orphan:
    kind: Literal["config", "model"] = "config" if found.resource.kind == "config" else "model"
    return Orphan(
        kind=kind, name=found.resource.name, created=found.description.get("CreationTime"), made_for=found.made_for
    )


def _survey(report: Reporter | None) -> Flow[tuple[list[DescribedResource], list[DescribedResource]]]:
    """Return the orphans, and all configurations."""
    if report is not None:
        report(doing="listing endpoints, configurations and models")
    endpoints, listed, models = yield from gather(
        [
            paginate(sagemaker_call("list_endpoints"), "Endpoints"),
            paginate(sagemaker_call("list_endpoint_configs"), "EndpointConfigs"),
            paginate(sagemaker_call("list_models"), "Models"),
        ]
    )
    if report is not None:
        report(doing=f"describing {len(endpoints)} endpoints, {len(listed)} configurations and {len(models)} models")
    names = [one["EndpointName"] for one in endpoints]
    live = yield from gather([describe_if_exists(one) for one in names])
    configs = yield from ownership.inspect(Resource("config", one["EndpointConfigName"]) for one in listed)
    used = {name for one in live if one is not None for name in (one.config_name, one.pending_config) if name}
    used |= _kept_for_rollback(set(names), configs, used)
    serving = {name for one in configs if one.resource.name in used for name in content.model_names(one.description)}
    unused = [Resource("model", one["ModelName"]) for one in models if one["ModelName"] not in serving]
    found = [one for one in configs if one.resource.name not in used]
    found += yield from ownership.inspect(unused)
    return sorted(found, key=lambda one: (one.resource.kind, str(one.description.get("CreationTime")))), configs


def _kept_for_rollback(endpoints: set[str], configs: list[DescribedResource], used: set[str]) -> set[str]:
    """Return the configurations that `rollback` needs: by tag, or else the newest unused one of each endpoint."""
    kept: set[str] = set()
    known: set[str | None] = set()
    for one in configs:
        if one.resource.name in used and one.replaced is not None:
            kept.add(one.replaced)
            known.add(one.made_for)
    newest: dict[str, DescribedResource] = {}
    for one in configs:
        endpoint = one.made_for
        if endpoint is None or endpoint not in endpoints - known or one.resource.name in used:
            continue
        if endpoint not in newest or one.description["CreationTime"] > newest[endpoint].description["CreationTime"]:
            newest[endpoint] = one
    return kept | {one.resource.name for one in newest.values()}


def remove_all(
    orphans: Iterable[Orphan], names: Iterable[str] = (), report: Reporter | None = None
) -> Flow[tuple[Orphan, ...]]:
    """Delete orphans, configurations first. Those that are in use by now are kept.

    Args:
        orphans: Orphans that `find` returned. Only those that this SDK made are deleted.
        names: Names of orphans that are deleted even if this SDK did not make them.
        report: Reports the progress.

    Returns:
        The orphans that were deleted.

    Raises:
        InvalidInputError: An item is neither an orphan nor a name.
    """
    given, named = validators.sequence(orphans), validators.sequence(names)
    for one in given:
        if not isinstance(one, Orphan):
            raise InvalidInputError(
                f"orphans must come from endpoints.orphans(), not {one!r}", hint="names=… takes names"
            )
    for name in named:
        check_resource_name("names", name)
    still, configs = yield from _survey(report)
    chosen = {(one.kind, one.name) for one in given}
    gone = [
        one
        for one in still
        if one.resource.name in named or ((one.resource.kind, one.resource.name) in chosen and one.made_for is not None)
    ]
    going = {one.resource for one in gone}
    # The models of a configuration that is kept are kept, unless they were given by name.
    needed = {name for one in configs if one.resource not in going for name in content.model_names(one.description)}
    gone = [
        one
        for one in gone
        if one.resource.kind == "config" or one.resource.name not in needed or one.resource.name in named
    ]
    if report is not None:
        report(doing="deleting", total=len(gone))
    for one in sorted(gone, key=lambda one: one.resource.kind):
        yield from none_if_missing(delete_call(one.resource))
        if report is not None:
            report(done=1)
    restored: set[Resource] = set()
    for endpoint in sorted({one.made_for for one in gone if one.made_for is not None}):
        restored |= set((yield from restore_used(endpoint, [one for one in gone if one.made_for == endpoint])))
    return tuple(_orphan(one) for one in gone if one.resource not in restored)
