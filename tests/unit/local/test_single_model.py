"""Single-model containers of the embedded SageMaker: names of uncompressed files, and routing."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from mme_sdk.errors import LayoutError
from mme_sdk.local.hosting.downloads.files import _check_names
from mme_sdk.local.hosting.instances.single_model import SingleModelVariant
from mme_sdk.local.hosting_interface import VariantPlan


@pytest.mark.parametrize("key", ["", "a/", "a//b", "/a", " /a", "./a", "a/..", "a/./b", "x" * 256, "ü" * 128, "a/\0"])
def test_a_key_that_cannot_be_a_file_is_refused(key):
    with pytest.raises(LayoutError, match="cannot be a file"):
        _check_names(["model.bin", key])


def test_a_name_of_a_file_and_a_folder_is_refused():
    with pytest.raises(LayoutError, match="'weights' would be a file and a folder"):
        _check_names(["weights/part1", "weights"])
    _check_names(["weights/part1", "weights-old", "weights/part2", "..a/b..", "x" * 255])


@pytest.mark.parametrize("by_chance", [True, False])
def test_only_random_routing_uses_busy_instances_too(by_chance):
    plan = VariantPlan(name="v", model_name="m", containers=(), instance_type="t", random_routing=by_chance)
    variant = SingleModelVariant.__new__(SingleModelVariant)
    variant.plan, variant.draining = plan, set()
    variant.shared = SimpleNamespace(rng=random.Random(0))
    variant.instances = {
        name: SimpleNamespace(name=name, outstanding=count) for name, count in (("a", 5), ("b", 0), ("c", 0))
    }
    chosen = {variant._instance(None).name for _ in range(60)}
    assert chosen == ({"a", "b", "c"} if by_chance else {"b", "c"})
