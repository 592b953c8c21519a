"""Draw the diagrams of the documentation from the code: `python scripts/diagrams.py` writes docs/images/diagram-*.svg.

A test compares the files with what this script draws. Each picture has a title and a description for screen readers.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "images"
WIDTH = 520
_STYLE = (
    "text{font:15px system-ui,sans-serif;fill:#1c1e26}.small{font-size:13px;fill:#444a58}"
    "rect{fill:#eef1f8;stroke:#7482a8;rx:6px}.sheet{fill:#fff;stroke:none;rx:0}.good{fill:#dff3e4;stroke:#4b9560}"
    ".busy{fill:#fdf0d5;stroke:#b8862b}.bad{fill:#fbe0de;stroke:#b4514a}"
    "path{fill:none;stroke:#4a5166;stroke-width:1.5}"
)


class Drawing:
    """An SVG picture that is built from top to bottom."""

    def __init__(self, name: str, title: str, description: str) -> None:
        self.name, self.title, self.description = name, title, description
        self._parts: list[str] = []
        self._height = 0.0

    def text(self, x: float, y: float, line: str, *, small: bool = False, anchor: str = "start") -> None:
        """Write one line; y is its base line."""
        kind = ' class="small"' if small else ""
        self._parts.append(f'<text{kind} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(line)}</text>')
        self._height = max(self._height, y)

    def box(self, x: float, y: float, width: float, lines: Iterable[str], *, kind: str = "") -> float:
        """Draw a box with lines, the first one larger. Return its lower end."""
        given = list(lines)
        height = 14.0 + 20 * min(len(given), 1) + 17 * max(0, len(given) - 1)
        tag = f' class="{kind}"' if kind else ""
        self._parts.append(f'<rect{tag} x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>')
        for number, line in enumerate(given):
            self.text(x + width / 2, y + 22 + 17 * number, line, small=number > 0, anchor="middle")
        self._height = max(self._height, y + height)
        return y + height

    def arrow(self, *points: tuple[float, float], both: bool = False) -> None:
        """Draw an arrow along points, with a head at its end, or at both ends."""
        line = " L".join(f"{x:g} {y:g}" for x, y in points)
        start = ' marker-start="url(#head)"' if both else ""
        self._parts.append(f'<path d="M{line}"{start} marker-end="url(#head)"/>')

    def svg(self) -> str:
        """Return the picture."""
        height = self._height + 12
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" role="img" aria-labelledby="title description">\n'
            f'<title id="title">{escape(self.title)}</title>\n'
            f'<desc id="description">{escape(self.description)}</desc>\n<style>{_STYLE}</style>\n'
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse"><path d="M1 1 L7 4 L1 7"/></marker></defs>\n'
            f'<rect class="sheet" width="{WIDTH}" height="{height:g}"/>\n' + "\n".join(self._parts) + "\n</svg>\n"
        )


def layers() -> Drawing:
    """Draw the layers of the contract that import-linter checks."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (rows,) = (one["layers"] for one in contracts if one["type"] == "layers")
    (outer,) = (one["forbidden_modules"] for one in contracts if "embedded SageMaker" in one["name"])
    short = [[name.strip().removeprefix("mme_sdk.") for name in row.split("|")] for row in rows]
    drawing = Drawing(
        "layers",
        "Layers of mme_sdk",
        "An import points down. From top to bottom: "
        + "; ".join(" and ".join(row) for row in short)
        + f". Beside them: {' and '.join(outer)}, which import the layers. Of the layers, only cli imports them.",
    )
    y = 12.0
    for row in short:
        width = (344 - 8 * (len(row) - 1)) / len(row)
        for place, name in enumerate(row):
            drawing.box(12 + place * (width + 8), y, width, [name])
        y += 40
    for place, name in enumerate(outer):
        drawing.box(392, 12 + 60 * place, 116, [name.removeprefix("mme_sdk.")])
    for place, line in enumerate(("These two import", "the layers. Of the", "layers, only cli", "imports them.")):
        drawing.text(392, 132 + 18 * place, line, small=True)
    drawing.arrow((400, 260), (400, y - 20))
    drawing.text(410, 280, "Imports", small=True)
    drawing.text(410, 298, "point down.", small=True)
    return drawing


def reactions() -> dict[str, str]:
    """Return what follows an answer that is not successful, by kind: the docstrings of `ErrorKind`."""
    source = (ROOT / "mme_sdk" / "runtime" / "retry" / "answers.py").read_text(encoding="utf-8")
    (kind,) = (one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == "ErrorKind")
    found = {}
    for member, said in zip(kind.body, kind.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(said, ast.Expr):
            (target,) = member.targets
            assert isinstance(target, ast.Name)
            found[target.id] = str(ast.literal_eval(said.value))
    return found


STEPS = (
    ("endpoint.invoke(…)", "endpoints/invocation.py"),
    ("check the options, resolve name@alias", "runtime/options.py, registry/resolver.py"),
    ("encode the payload", "runtime/payloads/codecs.py"),
    ("sign the request, send it", "runtime/transport/request_signer.py, pool.py"),
    ("classify the answer", "runtime/retry/answers.py"),
)
"""The way of a call, and the modules below `mme_sdk/` that do each step."""


def invocation() -> Drawing:
    """Draw the life of an invocation, with the kinds of answers in the code."""
    kinds = reactions()
    drawing = Drawing(
        "invocation",
        "Life of an invocation",
        "; then ".join(step for step, _ in STEPS)
        + ". A successful answer is decoded and returned. Any other answer is one of: "
        + " ".join(f"{name}: {said}" for name, said in kinds.items())
        + " The call sends again until its deadline.",
    )
    y = 12.0
    for place, (step, where) in enumerate(STEPS):
        if place:
            drawing.arrow((260, y - 20), (260, y - 3))
        y = drawing.box(70, y, 380, [step, where]) + 22
    again = 12 + 3 * (51 + 22) + 25.0  # the middle of the step that sends
    drawing.arrow((260, y - 20), (260, y - 3))
    y = drawing.box(70, y, 380, ["2xx: decode, return a Reply"], kind="good") + 14
    for name, said in kinds.items():
        final = name == "FINAL"
        lines = textwrap.wrap(said, 52)
        end = drawing.box(70, y, 380, [name, *lines], kind="bad" if final else "busy")
        if not final:
            drawing.arrow((450, (y + end) / 2), (492, (y + end) / 2), (492, again), (453, again))
        y = end + 10
    drawing.text(260, y + 12, "FINAL, and the end of the deadline, raise an MMEError.", small=True, anchor="middle")
    return drawing


PLACES = {
    "Creating": (12, 60),
    "InService": (190, 140),
    "Failed": (12, 220),
    "Updating": (368, 60),
    "SystemUpdating": (190, 60),
    "RollingBack": (368, 220),
    "UpdateRollbackFailed": (338, 300),
    "OutOfService": (190, 220),
    "Deleting": (12, 300),
}
"""Where each status is drawn."""
CHANGES = (
    ("Creating", "InService"),
    ("Creating", "Failed"),
    ("InService", "SystemUpdating"),
    ("SystemUpdating", "InService"),
    ("InService", "Updating"),
    ("Updating", "InService"),
    ("Updating", "RollingBack"),
    ("RollingBack", "InService"),
    ("RollingBack", "UpdateRollbackFailed"),
)
_BOX = (140.0, 34.0)


def statuses() -> Drawing:
    """Draw the statuses of an endpoint. Their names come from botocore's model of SageMaker."""
    from mme_sdk.endpoints.operations.replace_fleet import _BUSY
    from mme_sdk.local.wire.service_model import load_service_model

    names = load_service_model("sagemaker").shape_for("EndpointStatus").enum
    if set(names) != set(PLACES):
        raise ValueError(f"SageMaker's statuses are {', '.join(names)}: give each a place")
    drawing = Drawing(
        "statuses",
        "Statuses of an endpoint",
        "CreateEndpoint leads to Creating, then InService or Failed. UpdateEndpoint leads from InService to Updating "
        "and back; if the new instances do not start or an alarm goes off, to RollingBack, then InService or "
        "UpdateRollbackFailed. SageMaker itself leads to SystemUpdating and back. DeleteEndpoint leads from a status "
        "that is not in progress to Deleting. OutOfService: the endpoint cannot be called.",
    )
    drawing.arrow((82, 38), (82, 57))
    drawing.text(12, 30, "CreateEndpoint", small=True)
    for name in names:
        x, y = PLACES[name]
        kind = "good" if name == "InService" else "busy" if name in _BUSY else "bad"
        drawing.box(x, y, _width(name), [name], kind=kind)
    for place, (one, other) in enumerate(CHANGES):
        if (other, one) not in CHANGES[:place]:
            drawing.arrow(*_between(one, other), both=(other, one) in CHANGES)
    said = (
        "DeleteEndpoint leads from a status that is not in progress to Deleting.",
        "Yellow: in progress. Red: it stays until you act. FailureReason says why.",
        "An update that was rolled back ends in InService, with a FailureReason.",
        "In UpdateRollbackFailed, instances of both configurations answer.",
    )
    for place, line in enumerate(said):
        drawing.text(12, 362 + 20 * place, line, small=True)
    return drawing


def _width(name: str) -> float:
    return 170.0 if name == "UpdateRollbackFailed" else _BOX[0]


def _between(one: str, other: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends of an arrow between two boxes."""
    (x1, y1), (x2, y2) = PLACES[one], PLACES[other]
    if x1 == x2 or abs(x1 - x2) < 40:  # one below the other
        x = max(x1, x2) + 70
        return ((x, y1 + _BOX[1]), (x, y2 - 3)) if y2 > y1 else ((x, y1), (x, y2 + _BOX[1] + 3))
    right = x2 > x1
    start = (x1 + _width(one) if right else x1, y1 + _BOX[1] / 2)
    return start, (x2 - 3 if right else x2 + _width(other) + 3, y2 + _BOX[1] / 2)


def drawings() -> dict[Path, str]:
    """Return the pictures by their paths."""
    return {FOLDER / f"diagram-{one.name}.svg": one.svg() for one in (layers(), invocation(), statuses())}


if __name__ == "__main__":
    for path, picture in drawings().items():
        path.write_text(picture, encoding="utf-8")
        print(path.relative_to(ROOT))
