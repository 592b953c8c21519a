import inspect
import pickle

import pytest

from mme_sdk import errors

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.MMEError)]


def test_every_exception_is_exported_and_ends_in_error():
    names = {kind.__name__ for kind in KINDS}
    assert names <= set(errors.__all__)
    assert all(name.endswith("Error") for name in names)


def test_the_module_docstring_contains_every_exception():
    assert errors.__doc__ is not None
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in errors.__doc__] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_facts_survive_pickling(kind):
    error = kind("it broke", hint="mend it", endpoint="scoring", model="fraud/v3.tar.gz", request_id="r-1", status=500)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_text_contains_message_hint_and_request_id(kind):
    assert str(kind("it broke", hint="mend it", request_id="r-1")).split() == [
        "it",
        "broke",
        "mend",
        "it",
        "(request",
        "id",
        "r-1)",
    ]


def test_invalid_input_is_not_sent_and_is_the_callers_fault():
    error = errors.PayloadTooLargeError("7 MB")
    assert (error.sent, error.fault, error.replay_safe) == (False, "caller", True)
    assert isinstance(error, ValueError)


def test_an_unknown_outcome_is_not_safe_to_repeat():
    error = errors.OutcomeUnknownError("no answer in 70 s")
    assert (error.sent, error.replay_safe) == (None, False)


def test_an_explicit_fact_overrides_the_default_of_the_class():
    assert errors.ServiceError("x", replay_safe=False).replay_safe is False
    assert errors.InvalidInputError("x", sent=True).sent is True
