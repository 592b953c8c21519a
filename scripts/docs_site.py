"""Hooks of mkdocs for the documentation site: pages that are made from code, notebooks and files outside `docs/`.

mkdocs calls the functions `on_…`. Nothing is written into the repository.
"""

from __future__ import annotations

import ast
import base64
import json
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))  # mkdocs loads this file by its path

from scripts import docs_reference

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/mme-sdk/mme-sdk/blob/main/"
TITLES = {
    "mme_sdk": "Clients, endpoints, specs",
    "mme_sdk.config": "Settings of a client",
    "mme_sdk.errors": "Errors",
    "mme_sdk.endpoints": "Endpoints",
    "mme_sdk.registry": "The registry",
    "mme_sdk.runtime": "Invocations",
    "mme_sdk.types": "Values",
    "mme_sdk.artifacts": "Model archives",
    "mme_sdk.metrics": "Metrics",
    "mme_sdk.recording": "Recordings",
    "mme_sdk.diagnosis": "Diagnosis",
    "mme_sdk.costs": "Costs",
    "mme_sdk.planning": "Planning",
    "mme_sdk.autopilot": "The autopilot",
    "mme_sdk.scale": "Scaling out",
    "mme_sdk.integrations.mlflow": "MLflow",
    "mme_sdk.exports": "Exports",
    "mme_sdk.fleet": "The fleet model",
    "mme_sdk.protocols": "Protocols",
    "mme_sdk.local": "The embedded SageMaker",
    "mme_sdk.testing": "The pytest plugin",
}
INNER = {"_flows", "aws", "cli", "conformance", "display", "integrations"}
"""Packages that are not for users, although some have an `__all__`; of `integrations`, what is in it has pages."""
NOTEBOOKS = ("first_hour", "many_tenants", "hot_model", "batch_scoring", "operating", "planning")
OUTSIDE = {
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security-policy.md",
    "CHANGELOG.md": "project/changelog.md",
}
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_LOW = "---\nsearch:\n  boost: {boost}\n---\n"
"""Front matter of the generated pages: a search shows the pages that explain before the pages that list."""
_FOR_DEVELOPERS = ("adr/", "benchmarks/", "contract.md", "project/", "architecture.md", "fleet.md")


def public_names(package: str) -> list[str]:
    """Return `__all__` of a package without importing it."""
    path = ROOT.joinpath(*package.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(one, "id", None) for one in node.targets] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{package} has no __all__")


def packages() -> dict[str, str]:
    """Return the titles of the public packages, in the order of the reference. One without a title comes last."""
    found = {path.parent.name for path in (ROOT / "mme_sdk").glob("*/__init__.py")} - INNER
    others = sorted(f"mme_sdk.{name}" for name in found if f"mme_sdk.{name}" not in TITLES)
    return TITLES | {package: f"`{package}`" for package in others}


def reference_pages() -> Iterator[tuple[str, str, str]]:
    """Yield path, title and text of each page of the reference."""
    top = set(public_names("mme_sdk"))
    for package, title in packages().items():
        left_out = {"__version__", "errors", "policies"} | (set() if package == "mme_sdk" else top)
        if package == "mme_sdk.errors":
            left_out = set()
        names = [name for name in public_names(package) if name not in left_out]
        text = f"{_LOW.format(boost=0.4)}# {title}\n\nThe public names of `{package}`.\n"
        if package not in {"mme_sdk", "mme_sdk.errors"} and (above := sorted(top & set(public_names(package)))):
            listed = ", ".join(f"[`{name}`][mme_sdk.{name}]" for name in above if name != "errors")
            text += f"\n{listed} can also be imported from `mme_sdk`, and are described [there](mme_sdk.md).\n"
        text += "".join(f"\n::: {package}.{name}\n" for name in names)
        yield f"reference/{package}.md", title, text
    local = (ROOT / "docs" / "local.md").read_text(encoding="utf-8")
    yield "reference/settings.md", "Settings and environment variables", docs_reference.settings()
    yield "reference/metrics.md", "Metrics and events", docs_reference.metrics()
    yield "reference/fields.md", "AWS fields", _LOW.format(boost=0.3) + docs_reference.fields(local)
    yield "reference/cli.md", "Command line: every option", _LOW.format(boost=0.7) + command_line()
    yield "reference/iam.md", "IAM actions", iam_actions()


def command_line() -> str:
    """Return the page of the command `mme`, from its click commands."""
    import click

    from mme_sdk.cli.main import make

    introduction = (
        "# Command line: every option\n\n"
        "`pip install 'mme-sdk[cli]'` installs the command `mme`. [Command line](../cli.md) explains exit codes, files "
        "and the local host. Each command also has `--json`, `--quiet`, `--region`, `--profile` and `--endpoint-url`.\n"
    )
    parts = [introduction]

    def add(command: click.Command, path: str) -> None:
        if isinstance(command, click.Group):
            for name in sorted(command.commands):
                add(command.commands[name], f"{path} {name}")
            return
        context = click.Context(command, info_name=path, max_content_width=90, terminal_width=90)
        parts.append(f"\n## {path}\n\n```text\n{command.get_help(context)}\n```\n")

    add(make(), "mme")
    return "".join(parts)


def iam_actions() -> str:
    """Return the page of the IAM actions, from the documents that `endpoints.policies` writes."""
    from mme_sdk.endpoints import policies

    role, prefix = "arn:aws:iam::123456789012:role/sagemaker", "s3://ml-models/prod/"
    key = "arn:aws:kms:eu-west-1:123456789012:key/0a1b"
    documents = {
        "the execution role of an endpoint": ("execution_role", policies.execution_role(prefix)),
        "the same, with a KMS key and in a VPC": (
            "execution_role",
            policies.execution_role(prefix, kms_key=key, vpc=True),
        ),
        "a caller of one endpoint": ("invoker", policies.invoker("scoring")),
        "who creates, changes and deletes endpoints": ("deployer", policies.deployer(role, autoscaling=True)),
        "a reader of the registry": ("registry", policies.registry(prefix)),
        "a writer of the registry": ("registry", policies.registry(prefix, write=True)),
    }
    text = (
        "# IAM actions\n\n`mme_sdk.endpoints.policies` writes these documents, with your ARNs. `json.dumps` makes the "
        "JSON for IAM. [Multi-tenant IAM](../howto/multi-tenant-iam.md) limits a caller to some models.\n"
    )
    for subject, (function, document) in documents.items():
        text += f"\n## For {subject}\n\n`policies.{function}(…)`\n\n| statement | actions |\n| --- | --- |\n"
        for statement in document["Statement"]:
            actions = statement["Action"]
            listed = [actions] if isinstance(actions, str) else actions
            text += f"| {statement.get('Sid', '')} | {', '.join(f'`{one}`' for one in listed)} |\n"
    return f"{text}\n::: mme_sdk.endpoints.policies\n"


def notebook_page(name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook of `examples/` as Markdown, and its pictures by file name."""
    cells = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Chart that the cell above draws]({file})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))):
                parts.append(f"```text\n{text.rstrip()}\n```")
    note = f"The notebook is `examples/{name}.ipynb`. It needs no AWS account."
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n{note}\n{rest}", pictures


def how_tos() -> dict[str, str]:
    """Return the titles of the how-to pages by path, in the order of their titles."""
    folder = ROOT / "docs" / "howto"
    titles = {f"howto/{path.name}": _title(path.read_text(encoding="utf-8")) for path in folder.glob("*.md")}
    titles.pop("howto/index.md", None)
    return dict(sorted(titles.items(), key=lambda one: one[1]))


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def rewritten(text: str, *, source: str, page: str, pages: set[str]) -> str:
    """Return the text with links that lead to pages of the site, or else to the repository.

    Args:
        text: Markdown.
        source: Path of the file in the repository, to which its links are relative.
        page: Path of the page in the site.
        pages: Paths of all files of the site.
    """

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        place = OUTSIDE.get(target) or target.removeprefix("docs/")
        if target.startswith("examples/") and target.endswith(".ipynb"):
            place = f"tutorials/{Path(target).stem}.md"
        anchor = match[2] or ""
        if posixpath.join(posixpath.dirname(page), match[1]) in pages:  # a picture of a notebook
            return match[0]
        if place in pages:
            return f"]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{anchor})"
        return match[0] if target.startswith("docs/") else f"]({REPOSITORY}{target})"

    return _LINK.sub(link, text)


def unplaced(folder: str, navigation: str) -> list[str]:
    """Return the pages of a folder of `docs/` that a navigation does not place, in the order of their names."""
    pages = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs" / folder).glob("*.md"))
    return [page for page in pages if f"'{page}'" not in navigation and page != "cli.md"]


def on_config(config: Any) -> Any:
    """Put the generated pages, the how-to pages, and new pages into the navigation."""
    placed = repr(config.nav)
    for section in config.nav:
        for title, folder in (("Concepts", ""), ("Benchmarks", "benchmarks")):
            if title in section:
                section[title] += unplaced(folder, placed)
        if "How-to" in section:
            section["How-to"] += [{title: path} for path, title in how_tos().items()]
        if "Reference" in section:
            section["Reference"] += [{"Exit codes and files of mme": "cli.md"}]
            section["Reference"] += [{title: path} for path, title, _ in reference_pages()]
        if "Project" in section:
            decisions = sorted(path.name for path in (ROOT / "docs" / "adr").glob("0*.md"))
            section["Project"][0]["Decisions"] += [f"adr/{name}" for name in decisions]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    def add(path: str, content: str | bytes) -> None:
        files.append(File.generated(config, path, content=content))

    listed = "".join(f"- [{title}]({path.removeprefix('howto/')})\n" for path, title in how_tos().items())
    add("howto/index.md", f"# How-to\n\nShort pages, one for each question.\n\n{listed}")
    references = list(reference_pages())
    for path, _, text in references:
        add(path, text)
    listed = "".join(f"- [{title}]({path.removeprefix('reference/')})\n" for path, title, _ in references)
    add(
        "reference/index.md",
        f"# Reference\n\nMade from the code.\n\n- [Exit codes and files of `mme`](../cli.md)\n{listed}",
    )
    for name in NOTEBOOKS:
        text, pictures = notebook_page(name)
        add(f"tutorials/{name}.md", text)
        for file, content in pictures.items():
            add(f"tutorials/{file}", content)
    for name, path in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        add(path, text)
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Lead the links of a page to pages of the site, or to the repository."""
    path = page.file.src_uri
    sources = {place: name for name, place in OUTSIDE.items()}
    source = sources.get(path, f"docs/{path}")
    if path.startswith("tutorials/"):
        source = f"examples/{Path(path).stem}.ipynb"
    if path.startswith(_FOR_DEVELOPERS):
        page.meta.setdefault("search", {"boost": 0.3})
    if path.startswith("reference/") or path == "howto/index.md":
        return markdown
    if path == "local.md":
        before, _, after = docs_reference.split(markdown)
        markdown = f"{before}The table has [a page of its own](reference/fields.md).{after}"
    return rewritten(markdown, source=source, page=path, pages={file.src_uri for file in files})


def on_post_build(config: Any) -> None:
    """Write llms.txt: each page with its title and its first sentence."""
    site = Path(config.site_dir)
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    lines = [f"# {config.site_name}", "", f"> {config.site_description}.", ""]
    for entry in index["docs"]:
        if "#" not in entry["location"] and entry["title"]:
            prose = re.sub(r"<pre>.*?</pre>|<table>.*?</table>", "", entry["text"], flags=re.DOTALL)
            text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", prose)).strip()
            first = re.split(r"(?<=[.?])\s", text)[0][:200]
            lines.append(f"- [{entry['title']}]({entry['location'] or 'index.html'}){': ' + first if first else ''}")
    (site / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
