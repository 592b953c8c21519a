"""Uncompressed models of single-model containers: the files of a prefix, or one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mme_sdk.local.faults import Fault, Faults
from mme_sdk.local.hosting_interface import HostingError
from tests.support.hosting.harness import ECHO, Bench

Hosted = Callable[..., None]


def plain(bench: Bench, key: str) -> dict[str, Any]:
    return {"mode": "SingleModel", "model_data_url": f"s3://{bench.bucket}/{key}", "uncompressed": True}


def test_the_files_of_a_prefix_are_the_model(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        # Names that are escaped in a listing, and a neighbour of the prefix, with which the container would not start.
        await bench.put("tree/code/inference.py", ECHO.encode())
        await bench.put("tree/name", b"tree")
        await bench.put("tree/a+b c%20&ü/x", b"")
        await bench.put("tree-old/fail", b"")
        await bench.deploy(**plain(bench, "tree/"))
        answer = await bench.invoke(None, "row")
        assert (answer.status, answer.body) == (200, b"tree:row")
        (found,) = (bench.folder / "hosting" / "volumes").rglob("name")
        files = {str(one.relative_to(found.parent)) for one in found.parent.rglob("*") if one.is_file()}
        assert {one for one in files if "__pycache__" not in one} == {"code/inference.py", "name", "a+b c%20&ü/x"}

    hosted(scenario)


def test_every_page_of_a_listing_counts(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    from mme_sdk.local.hosting.downloads import objects

    def paged(query: Any, **options: Any) -> str:
        return real([*query, ("max-keys", "2")] if dict(query).get("list-type") else query, **options)

    real = objects.urlencode

    async def scenario(bench: Bench) -> None:
        for number in range(5):
            await bench.put(f"many/{number}", bytes(number))
        store = bench.hosting._shared.store
        monkeypatch.setattr(objects, "urlencode", lambda query, **options: paged(sorted(query), **options))
        found = await store.list(bench.bucket, "many/")
        assert [(one.key, one.size) for one in found] == [(f"many/{number}", number) for number in range(5)]

    hosted(scenario)


def test_one_object_is_copied_under_the_last_part_of_its_key(hosted: Hosted) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.put("one/inference.py", ECHO.replace('os.path.join(model_dir, "name")', "__file__").encode())
        with pytest.raises(HostingError) as caught:
            await bench.deploy(**plain(bench, "one/absent.bin"))
        assert "Please ensure that there is an object located at the URL" in str(caught.value)
        await bench.deploy(**plain(bench, "one/inference.py"))
        answer = await bench.invoke(None, "row")
        assert answer.body.endswith(b":row")
        assert b"def model_fn" in answer.body

    hosted(scenario)


@pytest.mark.parametrize(
    ("keys", "settings", "text"),
    [
        ((), {}, "Please ensure that there is an object located at the URL"),
        (("bad/folder/",), {}, "the key 'folder/' below the prefix cannot be a file"),
        (("bad/big",), {"volume_bytes": 3}, "the files have 4 bytes; at most 3 fit on the volume"),
    ],
)
def test_files_that_cannot_be_a_model_fail_the_deployment_with_the_reason(
    hosted: Hosted, keys: tuple[str, ...], settings: dict[str, Any], text: str
) -> None:
    async def scenario(bench: Bench) -> None:
        for key in keys:
            await bench.put(key, b"four")
        with pytest.raises(HostingError) as caught:
            await bench.deploy(**plain(bench, "bad/"))
        assert text in str(caught.value)
        assert f's3://{bench.bucket}/bad/"' in str(caught.value)

    hosted(scenario, **settings)


def test_a_denied_download_leaves_no_file(hosted: Hosted) -> None:
    faults = Faults()

    async def scenario(bench: Bench) -> None:
        await bench.put("tree/name", b"x")
        faults.add(Fault(kind="s3_denied", endpoint="e"))
        with pytest.raises(HostingError, match="S3 answered 403 Forbidden"):
            await bench.deploy(**plain(bench, "tree/"))

    hosted(scenario, faults=faults)
