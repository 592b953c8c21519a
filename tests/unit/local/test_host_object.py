"""What a host does in Python that is not a request: it is not copied to other processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.local import LocalSageMaker


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_host_cannot_be_copied(duplicate):
    with pytest.raises(InvalidInputError, match=r"cannot be pickled\n.*host\.environ\(\)"):
        duplicate(LocalSageMaker())
