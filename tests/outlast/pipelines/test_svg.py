"""Pictures of pipelines: valid XML, every task in its place, no overlaps, and bounds for large ones."""

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from outlast.pipelines.documents import check_document
from outlast.pipelines.graph import mermaid
from outlast.pipelines.svg import MAX_LANES, svg
from outlast.pipelines.tasks import Pipeline
from outlast.terminal.pipeline_files import from_yaml

HEAD = {"dsl": "1.0.3", "namespace": "test", "name": "sample", "version": "1.0.0"}
SET = {"set": {"a": 1}}
SVG = "{http://www.w3.org/2000/svg}"
DOCS = Path(__file__).parents[3] / "docs"
RAISE = {"raise": {"error": {"type": "urn:x", "status": 500}}}

Box = tuple[float, float, float, float]

NESTED = [
    {"plan": {"call": "agent", "with": {"agent": "planner", "input": "x"}}},
    {
        "research": {
            "fork": {
                "branches": [
                    {"news": SET},
                    {"patents": {"do": [{"find": SET}, {"read": {**SET, "then": "find"}}]}},
                ]
            }
        }
    },
    {
        "each": {
            "for": {"in": ".cities"},
            "do": [
                {"look": SET},
                {"check": {"switch": [{"bad": {"when": ".x", "then": "exit"}}]}},
                {"store": SET},
            ],
        }
    },
    {"careful": {"try": [{"pay": SET}], "catch": {"do": [{"sorry": SET}, {"fail": RAISE}]}}},
    {"maybe": {"if": ".x", **SET, "then": "end"}},
    {"decide": {"switch": [{"again": {"when": ".a", "then": "plan"}}, {"stop": {"then": "end"}}]}},
    {"last": SET},
]


def checked(*tasks: Any) -> Pipeline:
    document: Any = {"document": HEAD, "do": list(tasks)}
    return check_document(document)


def drawn(*tasks: Any) -> ET.Element:
    return ET.fromstring(svg(checked(*tasks)))  # noqa: S314 our own text


def boxes(root: ET.Element) -> dict[str, Box]:
    """Return the boxes of tasks by their places in the document."""
    found = {}
    for rect in root.iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None and str(title.text).startswith("/do"):
            x, y, width, height = (
                float(rect.attrib[name]) for name in ("x", "y", "width", "height")
            )
            found[str(title.text)] = (x, y, x + width, y + height)
    return found


def texts(root: ET.Element) -> list[str]:
    return [str(each.text) for each in root.iter(f"{SVG}text")]


def test_every_task_is_drawn_inside_its_own_and_beside_the_others() -> None:
    root = drawn(*NESTED)
    found = boxes(root)
    assert len([place for place in found if "," not in place]) == 17
    page = (0.0, 0.0, float(root.attrib["width"]), float(root.attrib["height"]))
    for (name, box), (other, another) in itertools.combinations(found.items(), 2):
        assert _is_inside(box, page)
        outer = name.partition(",")[0]
        if other.startswith((f"{name}/", f"{name}, ")):
            assert _is_inside(another, box), (name, other)
        elif not other.startswith(f"{outer}/"):
            assert not _overlap(box, another), (name, other)
    assert {"bad → exit", "done → end", "stop → end", "again", "skipped"} <= set(texts(root))


def _is_inside(box: Box, outer: Box) -> bool:
    return outer[0] <= box[0] and outer[1] <= box[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_names_cannot_break_the_picture() -> None:
    name = '</title><script>"&\u65e5'
    root = drawn({name: SET}, {"s": {"switch": [{"<b>\u0001\u202e": {"then": "end"}}]}})
    assert not list(root.iter(f"{SVG}script"))
    assert any("<script>" in text and "\u65e5" in text for text in texts(root))


def test_a_long_pipeline_stays_small() -> None:
    count = 500
    jumps = {"switch": [{"back": {"when": ".x", "then": "t0"}}, {"on": {"then": f"t{count - 1}"}}]}
    tasks = [{f"t{number}": jumps if number % 5 == 4 else SET} for number in range(count - 1)]
    root = drawn(*tasks, {f"t{count - 1}": SET})
    assert len(boxes(root)) == count
    assert float(root.attrib["width"]) < 500


def test_further_jumps_than_lanes_are_named() -> None:
    jumps = [
        {f"j{number}": {"switch": [{"far": {"then": f"t{number}"}}]}}
        for number in range(3 * MAX_LANES)
    ]
    root = drawn(*jumps, *({f"t{number}": SET} for number in range(3 * MAX_LANES)))
    named = [text for text in texts(root) if text.startswith("far → t")]
    assert len(named) == 2 * MAX_LANES
    assert len([text for text in texts(root) if text == "far"]) == MAX_LANES


def test_the_picture_of_the_page_is_that_of_its_document() -> None:
    text = (DOCS / "pipelines.md").read_text()
    document = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    picture = svg(check_document(from_yaml(document)))
    assert (DOCS / "images/pipeline.svg").read_text() == picture


def test_both_formats_show_the_same_ways() -> None:
    text = mermaid(checked(*NESTED))
    assert '-- "skipped" -->' in text
    assert '-- "done" --> finish' in text
    fails = next(line.split("[")[0].strip() for line in text.splitlines() if "fail: raise" in line)
    assert f"{fails} -->" not in text
