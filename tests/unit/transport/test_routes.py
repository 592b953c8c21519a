"""A pool begins with the route that the selection found."""

from __future__ import annotations

from typing import Any
from unittest import mock

from mme_sdk.runtime.transport import selection_base
from mme_sdk.runtime.transport.selection_base import routes_from


def test_the_route_is_found_again_after_the_first_use_only() -> None:
    first: Any = object()
    aws: Any = object()
    with mock.patch.object(selection_base, "find_route", return_value=("second", None)) as found:
        next_route = routes_from(first, aws)
        assert next_route() is first
        found.assert_not_called()
        assert [next_route(), next_route()] == ["second", "second"]
        assert found.call_count == 2
