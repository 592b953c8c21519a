"""Deprecated names still work, and each use warns at the line that uses it."""

import asyncio
import inspect
import sys
import types
import warnings

import attrs
import pytest
import typing_extensions

from mme_sdk._deprecation import deprecated, message, renamed_attribute, renamed_keyword, renamed_names


@renamed_keyword("secs", "seconds", removed_in="0.4")
def wait(seconds=1.0):
    """Wait."""
    return seconds


@renamed_keyword("secs", "seconds", removed_in="0.4")
async def async_wait(*, seconds=1.0):
    return seconds


class Endpoint:
    status = "InService"
    state = renamed_attribute("status", removed_in="0.4")

    @property
    @deprecated("Endpoint.title is deprecated and will be removed in mme_sdk 0.4; use Endpoint.name")
    def title(self):
        return "scoring"

    @deprecated("Endpoint.ask is deprecated and will be removed in mme_sdk 0.4; use Endpoint.invoke")
    async def ask(self):
        return 42


@deprecated("Plan is deprecated and will be removed in mme_sdk 0.4; use HostingPlan")
class Plan:
    pass


@attrs.frozen
class Frozen:
    new: int
    old = renamed_attribute("new", removed_in="0.4")


def warned(use):
    """Return the result and the only warning; check that it names this file."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = use()
    (only,) = seen
    assert only.category is DeprecationWarning
    assert only.filename == __file__
    return result, str(only.message)


def test_a_message_names_the_version_and_the_replacement():
    text = message("a", "b", removed_in="0.4")
    assert text == "a is deprecated and will be removed in mme_sdk 0.4; use b"


def test_a_renamed_keyword_works_and_warns_at_the_call():
    line = inspect.currentframe().f_lineno + 3
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert wait(secs=3) == 3
    assert (seen[0].filename, seen[0].lineno) == (__file__, line)
    assert str(seen[0].message) == message("keyword 'secs' of wait", "'seconds'", removed_in="0.4")


def test_the_new_keyword_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (wait(), wait(2), wait(seconds=3)) == (1.0, 2, 3)
        assert asyncio.run(async_wait(seconds=3)) == 3
    assert (wait.__name__, wait.__doc__, list(inspect.signature(wait).parameters)) == ("wait", "Wait.", ["seconds"])


def test_both_keywords_are_an_error():
    with pytest.raises(TypeError, match="both 'seconds' and its deprecated name 'secs'"):
        wait(secs=1, seconds=2)


@pytest.mark.parametrize("start", ["await", "task"])
def test_a_renamed_keyword_of_a_coroutine_function_warns_at_the_call(start):
    async def main():
        if start == "await":
            return await async_wait(secs=3)
        return await asyncio.create_task(async_wait(secs=3))

    result, text = warned(lambda: asyncio.run(main()))
    assert result == 3
    assert "async_wait" in text
    assert asyncio.iscoroutinefunction(async_wait)


def test_a_renamed_attribute_reads_and_sets_the_new_one():
    endpoint = Endpoint()
    result, text = warned(lambda: endpoint.state)
    assert (result, text) == ("InService", message("Endpoint.state", "Endpoint.status", removed_in="0.4"))
    warned(lambda: setattr(endpoint, "state", "Failed"))
    assert endpoint.status == "Failed"
    assert isinstance(Endpoint.state, renamed_attribute)


def test_a_renamed_attribute_of_a_frozen_attrs_class():
    result, text = warned(lambda: Frozen(7).old)
    assert (result, text) == (7, message("Frozen.old", "Frozen.new", removed_in="0.4"))
    assert [each.name for each in attrs.fields(Frozen)] == ["new"]


def test_deprecated_classes_properties_and_coroutine_methods():
    _, text = warned(Plan)
    assert text == message("Plan", "HostingPlan", removed_in="0.4")
    assert warned(lambda: Endpoint().title)[0] == "scoring"
    assert warned(lambda: asyncio.run(Endpoint().ask()))[0] == 42


def test_renamed_names_of_a_module(monkeypatch):
    module = types.ModuleType("shop")
    module.HostingPlan = Plan
    module.__getattr__ = renamed_names("shop", {"Plan": "HostingPlan"}, removed_in="0.4")
    monkeypatch.setitem(sys.modules, "shop", module)

    def imports():
        from shop import Plan as found

        return found

    for use in (lambda: module.Plan, imports):
        result, text = warned(use)
        assert result is Plan
        assert text == message("shop.Plan", "shop.HostingPlan", removed_in="0.4")
    with pytest.raises(AttributeError, match="module 'shop' has no attribute 'Other'"):
        getattr(module, "Other")  # noqa: B009


def test_type_checkers_know_the_decorator():
    """PEP 702: mypy (with `--enable-error-code deprecated`) and pyright report uses of what this decorator marks."""
    assert deprecated is typing_extensions.deprecated
