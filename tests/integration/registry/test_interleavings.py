"""Listings contain exactly the keys that can be invoked; concurrent writers and readers see only whole models."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from mme_sdk.errors import ConflictError
from mme_sdk.registry import ModelRegistry
from mme_sdk.registry.names import KeyLayout
from mme_sdk.registry.operations import upload
from mme_sdk.registry.operations.package import LayoutCheck
from mme_sdk.types import S3Uri
from mme_sdk.types.model import is_invokable
from tests.support.registry.flow_steps import steps

_segment = st.text(st.sampled_from("abv1.@ -é\n/"), max_size=6)
_key = st.lists(_segment, min_size=1, max_size=4).map("/".join)


@given(keys=st.lists(_key | st.sampled_from(["prod/", "prod", "prod-old/a/v1.tar.gz", "prod/a/v1.tar.gz"])))
@example(keys=["prod/" + "x" * 1025, "prod/../a", "prod/.mme/x", "prod/a//b", "prod/ a", "prod/a/"])
def test_a_listing_holds_exactly_the_invokable_keys(keys: list[str]) -> None:
    prefix = KeyLayout(S3Uri("bucket", "prod/"), "{name}/{version}.tar.gz")
    # S3 itself answers only keys that begin with the prefix.
    found = [
        one.target_model for key in keys if key.startswith("prod/") if (one := prefix.from_listing({"Key": key}, None))
    ]
    assert found == [key[5:] for key in keys if key.startswith("prod/") and _plainly_invokable(key[5:])]
    for target in found:
        name, version = prefix.parse(target)
        assert prefix.target(name, version) == target or "@" in target or name != name.strip()


def _plainly_invokable(target: str) -> bool:
    """The same rules, written in another way."""
    parts = target.split("/")
    return (
        0 < len(target) <= 1024
        and not target.startswith(" ")
        and all(" " <= letter <= "~" for letter in target)
        and all(part and not part.startswith(".") for part in parts)
    )


@given(name=st.text(max_size=20), version=st.text(max_size=8))
def test_whatever_is_accepted_can_be_invoked_and_read_back(name: str, version: str) -> None:
    from mme_sdk.errors import InvalidInputError

    keys = KeyLayout(S3Uri("bucket", "prod/"), "{name}/{version}.tar.gz")
    try:
        target = keys.target(name, version)
    except InvalidInputError:
        return
    assert is_invokable(target)
    assert not target.startswith("/")
    assert ".." not in target.split("/")
    if version:
        assert keys.parse(target) == (name, version)


def reading(models: ModelRegistry, s3: Any, seen: dict[str, str]) -> Generator[None, None, None]:
    """Check that listed versions are complete, match their metadata and their name, and never change."""
    for _ in range(6):
        yield
        for one in models.list():
            key = models.uri.split("/", 3)[3] + one.target_model
            answer = s3.get_object(Bucket=models.uri.split("/")[2], Key=key)
            with answer["Body"] as body:
                data = body.read()
            digest = hashlib.sha256(data).hexdigest()
            assert answer["Metadata"]["mme-sha256"] == digest
            content = hashlib.sha256(gzip.decompress(data)).hexdigest()
            assert answer["Metadata"]["mme-content"] == content
            if re.fullmatch(r"[0-9a-f]{16}", one.version):
                assert content.startswith(one.version)
            assert seen.setdefault(one.target_model, digest) == digest


def check_interleaving(data: Any, models: ModelRegistry, s3: Any, sources: list[Path], version: str | None) -> None:
    """Run two writers and a reader in the order that `data` draws."""
    registries = [ModelRegistry(models._aws, f"{models.uri}{uuid.uuid4().hex}/")]
    registries.append(ModelRegistry(models._aws, registries[0].uri))
    seen: dict[str, str] = {}
    actors = {
        number: steps(one._operations.register("fraud", source, version, layout=LayoutCheck(enabled=False)), one._aws)
        for number, (one, source) in enumerate(zip(registries, sources, strict=True))
    }
    actors[2] = reading(registries[0], s3, seen)
    lost = 0
    while actors:
        turn = data.draw(st.sampled_from(sorted(actors)), label="turn")
        try:
            next(actors[turn])
        except StopIteration:
            del actors[turn]
        except ConflictError:
            lost += 1
            del actors[turn]
    for _ in reading(registries[0], s3, seen):
        pass
    same = sources[0] == sources[1]
    assert lost == (1 if version and not same else 0)
    assert len(seen) == (1 if version or same else 2)
    assert registries[0].abort_uploads(older_than=0, dry_run=True).keys == ()


_checked = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes a minute for each example
)


@settings(_checked, max_examples=8)
@given(data=st.data(), same=st.booleans(), version=st.sampled_from([None, "v1"]))
def test_two_writers_and_a_reader(
    data: Any, same: bool, version: str | None, models: ModelRegistry, s3: Any, tmp_path: Path
) -> None:
    sources = [tmp_path / "one", tmp_path / ("one" if same else "two")]
    for source in sources:
        source.write_bytes(source.name.encode())
    check_interleaving(data, models, s3, sources, version)


@pytest.mark.parametrize("examples", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_two_writers_in_parts_and_a_reader(examples: int, models: ModelRegistry, s3: Any, tmp_path: Path) -> None:
    common = os.urandom(5 << 20)
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(common + name.encode() * 10_000)

    @settings(_checked, max_examples=examples)
    @given(data=st.data(), same=st.booleans(), version=st.sampled_from([None, "v1"]))
    def check(data: Any, same: bool, version: str | None) -> None:
        sources = [tmp_path / "one", tmp_path / ("one" if same else "two")]
        check_interleaving(data, models, s3, sources, version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upload, "PART", 5 << 20)
        check()
