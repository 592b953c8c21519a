"""The part of an endpoint handle that makes no call, and what all handles of a collection share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mme_sdk._validation import check_resource_name
from mme_sdk.display import html
from mme_sdk.display.shown import Shown
from mme_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from mme_sdk.aws import Aws
    from mme_sdk.endpoints import flows
    from mme_sdk.endpoints.operations.create import Creation
    from mme_sdk.endpoints.spec.spec import EndpointSpec
    from mme_sdk.endpoints.state.description import EndpointDescription
    from mme_sdk.protocols import ReadMetrics

else:

    class _Flows:
        """The module `flows`, imported on first use: a program that only invokes does not need the operations."""

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module("mme_sdk.endpoints.flows"), name)

    flows = _Flows()

__all__ = ["Context", "Handle", "flows"]

InvokerT = TypeVar("InvokerT")


class Context(Generic[InvokerT]):
    """What a collection and its handles share.

    Args:
        aws: Access to AWS.
        make_invoker: Returns the invoker. Called when a handle invokes for the first time.
        read_metrics: Reads CloudWatch; without it, `metrics` raises ConfigurationError.

    Attributes:
        client: The client of the collection, with which it and its handles travel to another process. None: no client
            made it.
    """

    def __init__(self, aws: Aws, make_invoker: Callable[[], InvokerT], read_metrics: ReadMetrics | None = None) -> None:
        self.aws = aws
        self.read_metrics = read_metrics
        self.client: Any = None
        self._make_invoker = make_invoker

    @cached_property
    def invoker(self) -> InvokerT:
        """The invoker of every handle."""
        return self._make_invoker()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.client is None:
            from mme_sdk.aws.travel import refuse_pickle

            raise refuse_pickle("a handle that no client made", "take it from client.endpoint(name)")
        return _context_of, (self.client,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Context[InvokerT]:
        return self  # a copy of a handle is a handle of the same client


def _context_of(client: Any) -> Context[Any]:
    context: Context[Any] = client.endpoints._context
    return context


class Handle(Shown):
    """An endpoint's name, and what is known of the endpoint without a call.

    Args:
        name: EndpointName.
        seen: The endpoint as it was last described. Default: None, not yet described.
        creation: The creation that returned this handle. Default: None.
    """

    __slots__ = ("_creation", "_seen", "name")

    def __init__(self, name: str, *, seen: EndpointDescription | None = None, creation: Creation | None = None) -> None:
        check_resource_name("name", name)
        self.name = name
        self._seen = seen
        self._creation = creation

    @property
    def prefix(self) -> str | None:
        """The S3 prefix of a multi-model endpoint's models; None if it is not known yet."""
        known = self._seen if self._creation is None else self._creation.spec
        if known is None or known.mode != "MultiModel" or known.model_data is None:
            return None
        if known.model_data.startswith("s3://"):
            return known.model_data
        from mme_sdk.endpoints.spec.validators import s3_form

        return s3_form(known.model_data)

    def _facts(self) -> dict[str, object]:
        """Return what the representations show, as far as it is known without a call."""
        seen, creation = self._seen, self._creation
        facts: dict[str, object] = {"name": self.name}
        if creation is not None:
            spec = creation.spec
            facts |= {
                "status": "Creating",
                "mode": spec.mode,
                "models": spec.model_data,
                "instances": spec._facts()["instances"],
                "config": spec.to_requests().config_name,
            }
        if seen is not None:
            known = {name: value for name, value in seen._facts().items() if value}
            facts |= {name: value for name, value in known.items() if name not in ("created", "modified", "tags")}
        return facts

    def _row(self) -> dict[str, object]:
        """Return the row of a table of endpoints."""
        seen, links = self._seen, self._links()
        row: dict[str, object] = {"name": html.link(self.name, next(iter(links.values()), None))}
        return (
            row if seen is None else {**row, "status": seen.status, "created": seen.created, "modified": seen.modified}
        )

    def _brief(self) -> str:
        return self.name if self._seen is None else f"{self.name} ({self._seen.status})"

    def _forget(self, status: str) -> None:
        from mme_sdk.endpoints.state.description import EndpointDescription

        self._seen, self._creation = EndpointDescription(name=self.name, status=status), None

    def _links(self) -> dict[str, str]:
        """Return the pages that the table links to, by name."""
        return {}

    def _html(self) -> str:
        links = html.Html(" · ".join(html.link(name, url) for name, url in self._links().items()))
        created = None if self._seen is None else self._seen.created
        return html.facts(type(self).__name__, {**self._facts(), "created": created, "links": links})

    def _check_same_endpoint(self, spec: EndpointSpec) -> None:
        from mme_sdk.endpoints.spec.spec import check_spec

        check_spec(spec)
        if spec.name != self.name:
            raise InvalidInputError(
                f"name: the spec describes endpoint {spec.name}, and this handle is for endpoint {self.name}",
                hint="endpoints.apply(spec) changes the endpoint that the spec names",
                endpoint=self.name,
            )
