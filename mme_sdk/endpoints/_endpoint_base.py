"""The part of an endpoint handle that makes no call, and what all handles of a collection share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mme_sdk._validation import check_resource_name
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
    """

    def __init__(self, aws: Aws, make_invoker: Callable[[], InvokerT], read_metrics: ReadMetrics | None = None) -> None:
        self.aws = aws
        self.read_metrics = read_metrics
        self._make_invoker = make_invoker

    @cached_property
    def invoker(self) -> InvokerT:
        """The invoker of every handle."""
        return self._make_invoker()


class Handle:
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

    def _facts(self) -> dict[str, str]:
        """Return what the representations show, as far as it is known."""
        seen, creation = self._seen, self._creation
        facts = {"name": self.name, "status": "?", "mode": "?", "models": "?", "instances": "?", "config": "?"}
        if creation is not None:
            spec = creation.spec
            facts |= {
                "status": "Creating",
                "mode": spec.mode,
                "models": spec.model_data or "none",
                "instances": _instances(spec.variants),
                "config": spec.to_requests().config_name,
            }
        if seen is not None:
            facts["status"] = seen.status
            facts["config"] = seen.config_name or facts["config"]
            facts["mode"] = seen.mode or facts["mode"]
            facts["models"] = seen.model_data or facts["models"]
            if any(variant.instance_type for variant in seen.variants):
                facts["instances"] = _instances(seen.variants)
        return facts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(key)}</th><td>{escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table>{rows}</table>"

    def _check_same_endpoint(self, spec: EndpointSpec) -> None:
        from mme_sdk.endpoints.spec.spec import check_spec

        check_spec(spec)
        if spec.name != self.name:
            raise InvalidInputError(
                f"name: the spec describes endpoint {spec.name}, and this handle is for endpoint {self.name}",
                hint="endpoints.apply(spec) changes the endpoint that the spec names",
                endpoint=self.name,
            )


def _instances(variants: Any) -> str:
    return ", ".join(
        f"{variant.instance_count} x {variant.instance_type}" if variant.instance_type else "serverless"
        for variant in variants
    )
