"""Test what `host.iam` says on a host that evaluates no policies, and which values of `iam` are accepted."""

from __future__ import annotations

import pytest

from mme_sdk.errors import ConfigurationError, InvalidInputError
from mme_sdk.local import LocalSageMaker


def test_a_host_without_policies_creates_no_users():
    host = LocalSageMaker()
    for create in (host.iam.add_user, host.iam.add_role):
        with pytest.raises(ConfigurationError, match=r"LocalSageMaker\(iam=True\)"):
            create("ann")
    assert repr(host.iam) == "<LocalIam enabled=False>"
    assert LocalSageMaker(iam=True).iam.enabled


def test_iam_is_a_bool():
    with pytest.raises(InvalidInputError, match="iam"):
        LocalSageMaker(iam={"team-a": []})  # type: ignore[arg-type]
