"""A release is refused unless version, changelog, bytes and size are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from scripts import check_extras
from scripts.release import ReleaseError, check_files, check_version, notes
from tests.support.paths import ROOT

GOOD = {"mme_sdk-1.2.3.tar.gz": b"s", "mme_sdk-1.2.3-py3-none-any.whl": b"wheel"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of version 1.2.3."""
    (tmp_path / "mme_sdk").mkdir()
    (tmp_path / "mme_sdk" / "_version.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.3 (2026-11-28)\n\n- More.\n")
    return tmp_path


def test_the_version_of_the_tree_is_accepted(tree: Path) -> None:
    check_version("1.2.3", tree)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [("1.2.4", "_version.py has 1.2.3"), ("", "is not a version"), ("v1.2.3", "is not a version"), ("1.2", "is not a")],
)
def test_another_version_is_refused(tree: Path, wanted: str, why: str) -> None:
    with pytest.raises(ReleaseError, match=why):
        check_version(wanted, tree)


def test_a_version_without_changes_is_refused(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.30\n\n## Unreleased\n")
    with pytest.raises(ReleaseError, match=r"CHANGELOG\.md has no section 1\.2\.3"):
        check_version("1.2.3", tree)


def test_two_equal_builds_are_accepted() -> None:
    check_files(GOOD, dict(GOOD))


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({**GOOD, "mme_sdk-1.2.3.tar.gz": b"t"}, "differ in mme_sdk-1.2.3.tar.gz"),
        ({"mme_sdk-1.2.3.tar.gz": b"s"}, "differ in mme_sdk-1.2.3-py3"),
    ],
)
def test_two_different_builds_are_refused(second: dict[str, bytes], why: str) -> None:
    with pytest.raises(ReleaseError, match=why):
        check_files(GOOD, second)


def test_a_missing_or_large_file_is_refused() -> None:
    with pytest.raises(ReleaseError, match="one sdist and one wheel"):
        check_files({"mme_sdk-1.2.3.tar.gz": b"s"}, {"mme_sdk-1.2.3.tar.gz": b"s"})
    with pytest.raises(ReleaseError, match="has 5 bytes, and at most 4"):
        check_files(GOOD, dict(GOOD), largest=4)


@pytest.mark.parametrize("heading", ["## 1.2.3", "## [1.2.3]", "## [1.2.3] - 2026-11-28", "## 1.2.3 (2026-11-28)"])
def test_the_notes_are_the_section_of_the_version(tree: Path, heading: str) -> None:
    text = f"# Changes\n\n## Unreleased\n\n- Later.\n\n{heading}\n\n### Added\n\n- More.\n\n## 1.2.2\n\n- Less.\n"
    (tree / "CHANGELOG.md").write_text(text)
    assert notes("1.2.3", tree) == "### Added\n\n- More.\n"


def test_the_last_section_may_end_with_the_file(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.3\n- More.")
    assert notes("1.2.3", tree) == "- More.\n"


@pytest.mark.parametrize("other", ["1.2.30", "1.2.3rc1", "1.2.3.1", "11.2.3"])
def test_the_notes_of_another_version_are_not_taken(tree: Path, other: str) -> None:
    (tree / "CHANGELOG.md").write_text(f"# Changes\n\n## [{other}]\n\n- More.\n")
    with pytest.raises(ReleaseError, match=r"no section 1\.2\.3"):
        notes("1.2.3", tree)


def test_empty_notes_are_refused(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.3\n\n## 1.2.2\n\n- Less.\n")
    with pytest.raises(ReleaseError, match="is empty"):
        check_version("1.2.3", tree)


def test_each_extra_has_a_program_that_says_what_it_does() -> None:
    extras = check_extras.extras()
    assert {check_extras.program(extra) for extra in extras} == set((ROOT / "scripts" / "extras").glob("use_*.py"))
    assert all(check_extras.summary(check_extras.program(extra)) for extra in extras)


def test_each_extra_is_missed_by_a_program_that_names_it() -> None:
    missed = {name for programs in check_extras.MISSING.values() for name in programs}
    assert missed == set(check_extras.extras()) - {"none", "fast"}  # without `fast`, everything works
    for programs in check_extras.MISSING.values():
        for name, program in programs.items():
            compile(program, name, "exec")


def result(extra: str, problems: list[str], seconds: float = 2.4) -> check_extras.Result:
    return check_extras.Result(extra, problems, packages=15, megabytes=36.4, seconds=seconds)


def test_the_table_gets_the_rows_that_were_run_and_keeps_the_others() -> None:
    page = f"before\n{check_extras.BEGIN}{check_extras.END}after\n"
    first = check_extras.renewed(page, [result("yaml", []), result("cli", ["it broke"])])
    assert re.findall(r"^\| `(\w+)` \| .+ \| (\w+) \| 15 \| 36 \| 2 \|", first, re.MULTILINE) == [
        ("cli", "fails"),
        ("yaml", "works"),
    ]
    second = check_extras.renewed(first, [result("cli", [], seconds=9)])
    assert second.splitlines()[4].startswith("| `cli` | The command line")
    assert "| works | 15 | 36 | 9 |" in second.splitlines()[4]
    assert second.splitlines()[5] == first.splitlines()[5]
    assert second.startswith("before\n")
    assert second.endswith(f"{check_extras.END}after\n")


def test_an_error_without_the_name_of_the_extra_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"yaml code": "needs PyYAML: pip install 'mme-sdk[yaml]'", "otel code": "ImportError", "cli code": None}
    monkeypatch.setattr(check_extras, "attempt", lambda command, folder: said[command[-1]])
    programs = {name: f"{name} code" for name in ("yaml", "otel", "cli")}
    unnamed, works = check_extras.unnamed("python", programs, tmp_path)
    assert unnamed == "the error without the extra otel does not name mme-sdk[otel]: ImportError"
    assert works == "the program of cli works without the extra"


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_a_workflow_runs_make_targets_that_exist(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for job in jobs.values():
        runs = "\n".join(step.get("run", "") for step in job["steps"])
        used = set(re.findall(r"\bmake ([a-z-]+)", runs)) | set(
            job.get("strategy", {}).get("matrix", {}).get("target", ())
        )
        assert used <= targets
        assert set(job.get("needs", "").split()) <= set(jobs)


def test_only_distributions_are_uploaded_to_the_index() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))["jobs"]
    (loaded,) = (step["with"] for step in jobs["publish"]["steps"] if "download-artifact" in step.get("uses", ""))
    (saved,) = (step["with"] for step in jobs["build"]["steps"] if step.get("with", {}).get("name") == "dist")
    assert loaded["name"] == "dist"
    assert saved["path"] == "dist/"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
