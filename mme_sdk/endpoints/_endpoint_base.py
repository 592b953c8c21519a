"""What both handles of an endpoint know without a call."""

from __future__ import annotations

from html import escape

from mme_sdk.endpoints.operations.create import Creation
from mme_sdk.endpoints.spec import validators as check
from mme_sdk.endpoints.spec.spec import EndpointSpec, check_spec
from mme_sdk.endpoints.state.description import EndpointDescription
from mme_sdk.errors import InvalidInputError

__all__ = ["Handle"]


class Handle:
    """What both handles know without a call; nothing changes after it is set, but the last description."""

    __slots__ = ("_creation", "_seen", "name")

    def __init__(self, name: str, *, seen: EndpointDescription | None = None, creation: Creation | None = None) -> None:
        self.name = name
        self._seen = seen
        self._creation = creation

    @property
    def prefix(self) -> str | None:
        """The S3 prefix of a multi-model endpoint, where it is known already."""
        known = self._seen if self._creation is None else self._creation.spec
        if known is None or known.mode != "MultiModel" or known.model_data is None:
            return None
        return known.model_data if known.model_data.startswith("s3://") else check.s3_form(known.model_data)

    def _facts(self) -> dict[str, str]:
        """Six facts, as far as they are known: name, status, mode, models, instances, configuration."""
        seen, creation = self._seen, self._creation
        facts = {"name": self.name, "status": "?", "mode": "?", "models": "?", "instances": "?", "config": "?"}
        if creation is not None:
            spec = creation.spec
            facts |= {
                "status": "Creating",
                "mode": spec.mode,
                "models": spec.model_data or "none",
                "instances": ", ".join(
                    f"{one.instance_count} x {one.instance_type}" if one.instance_type else "serverless"
                    for one in spec.variants
                ),
                "config": spec.to_requests().config_name,
            }
        if seen is not None:
            facts["status"] = seen.status
            facts["config"] = seen.config_name or facts["config"]
            facts["mode"] = seen.mode or facts["mode"]
            facts["models"] = seen.model_data or facts["models"]
            if any(one.instance_type for one in seen.variants):
                facts["instances"] = ", ".join(
                    f"{one.instance_count} x {one.instance_type or 'serverless'}" for one in seen.variants
                )
        return facts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(key)}</th><td>{escape(value)}</td></tr>"
            for key, value in self._facts().items()
        )
        return f"<table>{rows}</table>"

    def _check_own(self, spec: EndpointSpec) -> None:
        check_spec(spec)
        if spec.name != self.name:
            raise InvalidInputError(
                f"name: the spec is of endpoint {spec.name}, this handle of {self.name}", endpoint=self.name
            )
