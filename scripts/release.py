"""Build and check the files of a release: `python scripts/release.py VERSION [--out dist]`. Nothing is uploaded.

It builds wheel and sdist twice, with the time of the last commit as their time, and compares the bytes: once here, and
once from a copy of the tracked files in another folder, with other times, permissions, umask, locale and time zone.
Beside the folder of these files it writes `release/`, with the notes of the version (its section of the changelog), the
bill of materials (CycloneDX) of the wheel with its dependencies, and the digests. It needs the packages build, twine,
cyclonedx-bom, hatchling and hatch-fancy-pypi-readme, which `make release` installs into .venv-release.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LARGEST_WHEEL = 1_500_000
"""Bytes: an eighth more than the wheel of November 2026. The goal of the project, 700 kB, is not reached."""
ELSEWHERE = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?(?:\.post\d+)?(?:\.dev\d+)?")


class ReleaseError(Exception):
    """Why this tree cannot be released."""


def check_version(wanted: str, root: Path = ROOT) -> None:
    """Raise ReleaseError unless the tree has this version.

    Args:
        wanted: The version to release.
        root: The repository.

    Raises:
        ReleaseError: The version has another form, or the package or the changelog has another version.
    """
    if not _VERSION.fullmatch(wanted):
        raise ReleaseError(f"{wanted!r} is not a version such as 1.2.3 or 1.2.3rc1: make release VERSION=1.2.3")
    source = (root / "mme_sdk" / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "(.+)"', source)
    if found is None or found[1] != wanted:
        has = found[1] if found else "no version"
        raise ReleaseError(f"mme_sdk/_version.py has {has}, not {wanted}: change it first")
    notes(wanted, root)


def notes(version: str, root: Path = ROOT) -> str:
    """Return the section of the changelog about a version, without its heading.

    Args:
        version: The version.
        root: The repository.

    Returns:
        Markdown.

    Raises:
        ReleaseError: The changelog has no such section, or the section is empty.
    """
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## \[?{re.escape(version)}(?:[\] ].*)?\n((?:(?!## ).*(?:\n|\Z))*)", text, re.MULTILINE)
    if found is None:
        raise ReleaseError(f"CHANGELOG.md has no section {version}: add it first")
    if not found[1].strip():
        raise ReleaseError(f"the section {version} of CHANGELOG.md is empty: say what has changed")
    return found[1].strip() + "\n"


def bill_of_materials(wheel: Path, epoch: int) -> bytes:
    """Install a wheel into an environment of its own, and return what is in it as CycloneDX JSON.

    Args:
        wheel: The wheel. Its dependencies come from the package index, in the versions of now.
        epoch: Time of the document, in seconds since 1970.

    Returns:
        The document.

    Raises:
        ReleaseError: The wheel cannot be installed, or the document does not name it.
    """
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}

    def run(*command: str) -> bytes:
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode:
            raise ReleaseError(f"{' '.join(command)} failed:\n{done.stderr.decode(errors='replace')}")
        return done.stdout

    with tempfile.TemporaryDirectory(prefix="mme-release-") as folder:
        run(sys.executable, "-m", "venv", "--without-pip", folder)
        python = str(Path(folder, "bin", "python"))
        run(sys.executable, "-m", "pip", "--quiet", "--python", python, "install", str(wheel))
        # The index may be a local mirror: its addresses do not belong into the document.
        options = (
            "--of",
            "JSON",
            "--output-reproducible",
            "--short-PURLs",
            "--pyproject",
            str(ROOT / "pyproject.toml"),
        )
        written = run(sys.executable, "-m", "cyclonedx_py", "environment", *options, python)
    document = json.loads(written)
    names = {one["name"] for one in document["components"]}
    if not {"boto3", "botocore", "pydantic"} <= names or "pip" in names:
        raise ReleaseError(f"the bill of materials is not that of the wheel: it has {', '.join(sorted(names))}")
    return written


def copy(folder: Path, root: Path = ROOT) -> Path:
    """Copy the tracked files with other times and permissions, and return the copy.

    Args:
        folder: Where the copy is made.
        root: The repository.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    target = folder / "another folder"
    for name in filter(None, listed.split("\0")):
        path = target / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes((root / name).read_bytes())
        path.chmod(0o700 if os.access(root / name, os.X_OK) else 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return target


def build(out: Path, epoch: int, root: Path = ROOT, *, umask: int = 0o022, **variables: str) -> dict[str, bytes]:
    """Build sdist and wheel.

    Args:
        out: Folder for the files.
        epoch: Time of the files in the archives, in seconds since 1970.
        root: The repository.
        umask: Permissions that new files do not get.
        **variables: Further environment variables.

    Returns:
        The bytes of each file by its name.
    """
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), **variables}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=umask)
    if done.returncode:
        raise ReleaseError(f"the build failed:\n{done.stdout}{done.stderr}")
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def check_files(first: dict[str, bytes], second: dict[str, bytes], largest: int = LARGEST_WHEEL) -> None:
    """Raise ReleaseError unless two builds are equal and of the expected kind and size.

    Args:
        first: Files of one build by name.
        second: Files of another build of the same tree.
        largest: Largest size of a wheel, in bytes.

    Raises:
        ReleaseError: A file is missing, differs or is too large.
    """
    kinds = sorted(name.rpartition(".")[2] for name in first)
    if kinds != ["gz", "whl"]:
        raise ReleaseError(f"a release has one sdist and one wheel, and the build made {', '.join(first) or 'nothing'}")
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    if different:
        raise ReleaseError(
            f"two builds of this tree differ in {', '.join(different)}: a file is untracked, or something is not fixed"
        )
    for name, content in first.items():
        if name.endswith(".whl") and len(content) > largest:
            raise ReleaseError(f"{name} has {len(content):,} bytes, and at most {largest:,} are allowed")


def last_commit(root: Path = ROOT) -> int:
    """Return the time of the last commit, in seconds since 1970."""
    command = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)


def main(arguments: list[str] | None = None) -> int:
    """Build, compare and check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    given = parser.parse_args(arguments)
    try:
        check_version(given.version)
        with tempfile.TemporaryDirectory(prefix="mme-release-") as folder:
            epoch = last_commit()
            first = build(Path(folder, "first"), epoch)
            second = build(Path(folder, "second"), epoch, copy(Path(folder)), umask=0o077, **ELSEWHERE)
            check_files(first, second)
            files = [str(Path(folder, "first", name)) for name in first]
            checked = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], check=False)
            if checked.returncode:
                raise ReleaseError("twine refuses the description of the package")
            given.out.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(file, given.out)
            (wheel,) = given.out.glob(f"mme_sdk-{given.version}-*.whl")
            beside = given.out.parent / "release"
            beside.mkdir(exist_ok=True)
            (beside / "notes.md").write_text(notes(given.version), encoding="utf-8")
            (beside / "sbom.cdx.json").write_bytes(bill_of_materials(wheel, epoch))
            digests = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in first.items()]
            (beside / "SHA256SUMS").write_text("".join(digests), encoding="utf-8")
    except ReleaseError as error:
        print(f"No release: {error}", file=sys.stderr)
        return 1
    for name, content in first.items():
        print(f"{hashlib.sha256(content).hexdigest()}  {len(content):>9,} bytes  {given.out / name}")
    print(f"{beside} has the notes, the bill of materials and the digests.")
    print(f"Two builds are equal. To publish: git tag v{given.version} && git push origin v{given.version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
