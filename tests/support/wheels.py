"""Distributions that tests build themselves, to install without a network."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

__all__ = ["sdist", "wheel"]


def wheel(folder: Path, name: str, version: str, source: str, *, requires: str = "") -> Path:
    """Write a wheel with one module, whose name is that of the distribution."""
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-tool = {name}:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{one},,\n" for one in files) + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for one, text in files.items():
            archive.writestr(one, text)
    return path


def sdist(folder: Path, name: str, version: str, build: str) -> Path:
    """Write a source distribution with a build backend of its own: a module `backend` with this source."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "backend.py": build,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for one, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{one}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path
