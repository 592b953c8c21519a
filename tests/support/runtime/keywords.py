"""Flat keywords, as `Endpoint` takes them, as the arguments that an invoker takes."""

from __future__ import annotations

from typing import Any

from mme_sdk.runtime.options import AsyncInferenceOptions, InvokeOptions


def gathered(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords with the options of an invocation gathered in `options` and `queue_options`."""
    rest = dict(keywords)
    arguments: dict[str, Any] = {}
    for name, kind in (("options", InvokeOptions), ("queue_options", AsyncInferenceOptions)):
        found = {field: rest.pop(field) for field in kind._fields if field in rest}
        if found:
            arguments[name] = kind(**found)
    return arguments | rest
