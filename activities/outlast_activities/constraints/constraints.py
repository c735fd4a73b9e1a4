"""The part of a schema that a decoding engine can enforce; the rest is left to the check afterwards.

What an engine does not know is refused by some and ignored by others, and a request refused or a constraint
that was silently weaker are as bad. So both are decided here, by the table below, before a request is sent.
Every value of the whole schema stays possible, save that a decimal is given as a number, and a text with a
format as `outlast_activities.constraints.portable_formats` bounds it.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from outlast.jsonschema.contradictions import types_of
from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.portable_patterns import is_portable
from outlast_activities.constraints.portable_schemas import Reads, in_other_words

Engine = Literal["auto", "xgrammar", "guidance", "outlines", "llama.cpp", "openai"]
"""`auto` is vLLM's own choice: xgrammar, or guidance for a whole schema; `openai` an unknown server."""

MAX_LENGTH = 2_000
"""Characters of a text that an engine counts: above it the automaton is what takes the time."""

MAX_ITEMS = 500
"""Items, or properties, that an engine counts."""

MAX_NUMBER = 10**15
"""Bounds of numbers that every engine writes as an automaton: llguidance fails at 2**63, xgrammar above."""

_ALL = frozenset({"auto", "xgrammar", "guidance", "outlines", "llama.cpp", "openai"})
_VLLM = frozenset({"auto", "xgrammar", "guidance"})
_LOCAL = _VLLM | {"llama.cpp"}

KEYWORDS: dict[str, frozenset[str]] = {
    "type": _ALL,
    "properties": _ALL,
    "required": _ALL,
    "additionalProperties": _ALL,
    "items": _ALL,
    "enum": _ALL,
    "const": _ALL,
    "anyOf": _ALL,
    "$ref": _ALL,
    "minItems": _ALL,
    "maxItems": _ALL,
    "minLength": _ALL - {"openai"},
    "maxLength": _ALL - {"openai"},
    "pattern": _ALL - {"openai"},
    "format": _ALL,
    "prefixItems": _LOCAL | {"outlines"},
    "integer minimum": _LOCAL,
    "integer maximum": _LOCAL,
    "integer exclusiveMinimum": _LOCAL,
    "integer exclusiveMaximum": _LOCAL,
    "number minimum": _VLLM,
    "number maximum": _VLLM,
    "number exclusiveMinimum": _VLLM,
    "number exclusiveMaximum": _VLLM,
    "integer multipleOf": frozenset({"guidance"}),
    "minProperties": _VLLM,
    "maxProperties": _VLLM,
}
"""Who enforces a keyword. One that is not here is enforced by nobody and left to the check.

From vLLM 0.32 (`has_xgrammar_unsupported_json_features`), and from compiling schemas and trying values with
xgrammar 0.2.8, llguidance 1.7.6 and outlines_core 0.2.14."""

FORMATS: dict[str, frozenset[str]] = {
    "uuid": _LOCAL | {"outlines"},
    "uri": _VLLM | {"outlines"},
    "hostname": _VLLM,
    "ipv6": _VLLM,
    "uri-reference": frozenset({"xgrammar"}),
    "uri-template": frozenset({"xgrammar"}),
    "json-pointer": frozenset({"xgrammar"}),
    "relative-json-pointer": frozenset({"xgrammar"}),
}
"""Of those that no pattern stands for."""

PATTERN_WITH_LENGTH = frozenset({"guidance"})
"""Who counts the characters of a text that has a pattern or a format too; elsewhere the pattern stays."""

UNANCHORED = frozenset({"guidance"})
"""Who looks for a pattern anywhere in a text; the others take it for the whole text."""

TRUE_SCHEMAS = frozenset({"auto", "xgrammar", "guidance", "llama.cpp", "openai"})
"""Who takes `true` and `false` for a schema; the others take `{}`."""

ANNOTATIONS = (
    *("$schema", "$comment", "title", "description", "default", "examples", "deprecated"),
    *("readOnly", "writeOnly", "contentMediaType", "contentEncoding", "contentSchema"),
    "discriminator",
)
"""Dropped and not reported: they constrain nothing."""

_DECIMAL = ("^(?!^[-+.]*$)", "^(?!^[+-.]*$)", "^[+-]?")
"""How pydantic's patterns of a decimal begin, before 2.14 and since."""

_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OF_TYPE = {
    **dict.fromkeys(_NUMBERS, ("number", "integer")),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), ("string",)),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems"), ("array",)),
    **dict.fromkeys(("minProperties", "maxProperties"), ("object",)),
}
_MORE_PROPERTIES = ("patternProperties", "if", "dependentSchemas", "unevaluatedProperties")
"""What they say of properties is left to the check; an engine must then admit any other."""

_MOST: dict[str, float] = {
    **dict.fromkeys(("minLength", "maxLength"), MAX_LENGTH),
    **dict.fromkeys(("minItems", "maxItems", "minProperties", "maxProperties"), MAX_ITEMS),
    **dict.fromkeys(_NUMBERS, MAX_NUMBER),
}


@dataclass(frozen=True)
class Constraint:
    """What an engine is given, and the keywords that are left to the check."""

    schema: Schema
    moved: tuple[str, ...]
    """Paths such as `properties.amount.multipleOf`."""


def constraint_for(schema: Schema, engine: Engine) -> Constraint:
    """Divide a schema, well formed and satisfiable, between an engine and the check."""
    division = _Division(engine, schema)
    kept = division.node(schema, "")
    return Constraint(kept if isinstance(kept, dict) else {}, tuple(division.moved))


@dataclass
class _Division:
    """One schema on its way through; each part is visited once, so its work is bounded by its size."""

    engine: Engine
    root: Schema
    moved: list[str] = field(default_factory=list)

    def node(self, node: Any, path: str) -> Any:
        if not isinstance(node, dict):
            return node if self.engine in TRUE_SCHEMAS or node is False else {}
        plain = {key: value for key, value in node.items() if not _is_annotation(key)}
        definitions = self._group(plain.pop("$defs", None), f"{path}$defs.")
        older = self._group(plain.pop("definitions", None), f"{path}definitions.")
        kept = self._applied(self._one_of(plain, path), path)
        if definitions:
            kept["$defs"] = definitions
        if older:
            kept["definitions"] = older
        return kept

    def _one_of(self, node: Schema, path: str) -> Schema:
        """Write `oneOf` as `anyOf`, and `allOf` of what does not overlap as one schema."""
        kept = dict(node)
        if "oneOf" in kept:
            self._move(path, "oneOf")
            kept.setdefault("anyOf", kept.pop("oneOf"))
        parts: Any = kept.pop("allOf", [])
        for part in parts:
            plain = dict(part) if isinstance(part, dict) else {}
            for keyword in [*plain]:
                if _is_annotation(keyword):
                    del plain[keyword]
            together = _merged(kept, plain)
            if together is None:
                self._move(path, "allOf")
                return _opened(kept)
            kept = together
        return self._one_of(kept, path) if {"oneOf", "allOf"} & kept.keys() else kept

    def _applied(self, node: Schema, path: str) -> Schema:
        if "$ref" in node:
            return self._alone(node, "$ref", node["$ref"], path)
        if "anyOf" in node:
            if _is_told_by_branches(node):
                branches = self._branches(node["anyOf"], f"{path}anyOf.")
                return self._alone(node, "anyOf", branches, path)
            self._move(path, "anyOf")
            node = _opened({key: value for key, value in node.items() if key != "anyOf"})
        if "const" in node:
            return self._alone(node, "const", node["const"], path)
        node = node if "enum" in node else self._in_other_words(node)
        if "enum" in node:
            return self._alone(node, "enum", _of_its_type(node), path)
        if any(keyword in node for keyword in _MORE_PROPERTIES):
            node = _opened(node)
        if "prefixItems" in node and not self._is_enforced("prefixItems", node):
            node = self._without_prefix(node, path)
        kept: Schema = {}
        for keyword, value in node.items():
            if self._is_enforced(keyword, node):
                kept[keyword] = self._below(keyword, value, path)
            else:
                self._move(path, keyword)
        return self._completed(kept, path)

    def _in_other_words(self, node: Schema) -> Schema:
        has_pattern = "pattern" in node and self._is_enforced("pattern", node)
        reads = Reads(
            patterns=self.engine in KEYWORDS["pattern"] and not has_pattern,
            multiples=self.engine in KEYWORDS["integer multipleOf"],
            lists=self.engine in _LOCAL,
        )
        return in_other_words(node, self.root.get("$defs", {}), reads)

    def _without_prefix(self, node: Schema, path: str) -> Schema:
        """Leave out `items` too, which is only about what comes after the prefix."""
        kept = {key: value for key, value in node.items() if key not in ("prefixItems", "items")}
        self._move(path, "prefixItems")
        if node.get("items") is False:
            return _ended(node, kept)
        if "items" in node:
            self._move(path, "items")
        return kept

    def _alone(self, node: Schema, keyword: str, value: Any, path: str) -> Schema:
        """Keep one keyword: engines ignore what stands beside a reference, branches or values."""
        for other in node:
            if other not in (keyword, "type"):
                self._move(path, other)
        if keyword in ("$ref", "anyOf") and "type" in node:
            self._move(path, "type")
        typed = keyword in ("const", "enum") and "type" in node
        return {"type": node["type"], keyword: value} if typed else {keyword: value}

    def _branches(self, branches: Any, path: str) -> list[Any]:
        places = [(branch, f"{path}{index}") for index, branch in enumerate(branches)]
        kept = [place for place in places if place[0] is not False] or places
        decimals = [branch for branch, _ in kept if _is_decimal(branch)]
        if decimals and any(_is_number(branch) for branch, _ in kept):
            self.moved.extend(place for branch, place in kept if _is_decimal(branch))
            kept = [(branch, place) for branch, place in kept if not _is_decimal(branch)]
        return [self.node(branch, f"{place}.") for branch, place in kept]

    def _below(self, keyword: str, value: Any, path: str) -> Any:
        if keyword == "properties":
            return self._group(value, f"{path}properties.")
        if keyword == "additionalProperties" and isinstance(value, bool):
            return value
        if keyword in ("items", "additionalProperties"):
            return self.node(value, f"{path}{keyword}.")
        if keyword == "prefixItems":
            return [self.node(item, f"{path}prefixItems.{n}.") for n, item in enumerate(value)]
        return value

    def _group(self, group: Any, path: str) -> Schema:
        kept: Schema = {}
        for name, part in group.items() if isinstance(group, dict) else ():
            if part is False:
                self._move(path, name)
            else:
                kept[name] = self.node(part, f"{path}{name}.")
        return kept

    def _is_enforced(self, keyword: str, node: Schema) -> bool:
        value: Any = node[keyword]
        kinds = _kinds(node)
        if keyword in _OF_TYPE and not kinds & set(_OF_TYPE[keyword]):
            return False
        if keyword in _MOST and abs(value) > _MOST[keyword]:
            return False
        if keyword in _NUMBERS:
            kind = "number" if "number" in kinds else "integer"
            whole = kind == "number" or value == int(value)
            return whole and self.engine in KEYWORDS.get(f"{kind} {keyword}", ())
        return self.engine in KEYWORDS.get(keyword, ()) and self._reads(keyword, node)

    def _reads(self, keyword: str, node: Schema) -> bool:
        if keyword == "format":
            return self._knows(node["format"])
        if keyword == "pattern":
            return not self._knows(node.get("format")) and is_portable(
                str(node["pattern"]),
                anchored=self.engine not in UNANCHORED,
                escaped=self.engine in UNANCHORED,
                classes=self.engine != "llama.cpp",
            )
        return True

    def _knows(self, form: Any) -> bool:
        return self.engine in FORMATS.get(str(form), ())

    def _completed(self, node: Schema, path: str) -> Schema:
        kept = _with_required(node)
        shaped = "pattern" in kept or "format" in kept
        for keyword in ("minLength", "maxLength"):
            if shaped and keyword in kept and self.engine not in PATTERN_WITH_LENGTH:
                del kept[keyword]
                self._move(path, keyword)
        if "object" in _kinds(kept) and not kept.get("properties"):
            # Engines, and outlines before them, close an object that says nothing of others.
            kept.setdefault("additionalProperties", True)
        if kept.get("items") is False and self.engine not in _VLLM:
            kept = _ended(kept, {key: value for key, value in kept.items() if key != "items"})
        if "prefixItems" in kept and self.engine in _VLLM:
            kept.setdefault("items", {})
        return kept

    def _move(self, path: str, keyword: str) -> None:
        self.moved.append(f"{path}{keyword}")


def _is_annotation(keyword: str) -> bool:
    return keyword in ANNOTATIONS or keyword.startswith("x-")


def _kinds(node: Schema) -> set[str]:
    kinds: Any = node.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)


def _merged(one: Schema, other: Schema) -> Schema | None:
    """Return the schema that both are, if they say nothing different of the same thing."""
    merged = dict(one)
    for keyword, value in other.items():
        known: Any = merged.get(keyword, value)
        if known == value:
            merged[keyword] = value
        elif keyword == "required" and isinstance(value, list):
            merged[keyword] = list(dict.fromkeys([*known, *value]))
        elif keyword == "properties" and isinstance(value, dict) and not known.keys() & value:
            merged[keyword] = {**known, **value}
        else:
            return None
    objects = {"properties", "patternProperties", "additionalProperties"}
    together = bool(objects & one.keys()) and bool(objects & other.keys())
    closed = merged.get("additionalProperties", True) is not True
    beside = {"$ref", "anyOf", "oneOf"} & merged.keys() and len(merged) > 1
    return None if (together and closed) or beside else merged


def _with_required(node: Schema) -> Schema:
    """Name the properties that are required: engines leave out, or forbid, those they do not know."""
    names: Any = node.get("required", [])
    known: Any = node.get("properties", {})
    others: Any = node.get("additionalProperties", True)
    missing = [name for name in names if name not in known]
    if not missing or "object" not in _kinds(node) or others is False:
        return node
    schema = others if isinstance(others, dict) else {}
    opened = {**node, "properties": {**known, **dict.fromkeys(missing, schema)}}
    if not known:
        opened.setdefault("additionalProperties", True)
    return opened


def _ended(node: Schema, kept: Schema) -> Schema:
    """Say with `maxItems` that nothing comes after the prefix."""
    first: Any = node.get("prefixItems", [])
    most: Any = node.get("maxItems", len(first))
    return {**kept, "maxItems": min(most, len(first))}


def _opened(node: Schema) -> Schema:
    """Admit properties of which only what is left to the check knows."""
    closed = "patternProperties" in node or "additionalProperties" not in node
    about_objects = "object" in _kinds(node) or "properties" in node
    return {**node, "additionalProperties": True} if closed and about_objects else node


def _is_told_by_branches(node: Schema) -> bool:
    """Tell whether `anyOf` says more than what stands beside it."""
    beside = node.keys() - {"anyOf"}
    if beside == {"type"}:
        branches: Any = node["anyOf"]
        told = ("type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf")
        return all(
            any(word in branch for word in told) for branch in branches if branch is not True
        )
    return not beside & {"type", "properties"}


def _of_its_type(node: Schema) -> list[Any]:
    values: Any = node["enum"]
    kinds = _kinds(node)
    return [value for value in values if not kinds or kinds & set(types_of(value))]


def _is_decimal(node: Any) -> bool:
    return isinstance(node, dict) and str(node.get("pattern", "")).startswith(_DECIMAL)


def _is_number(node: Any) -> bool:
    return isinstance(node, dict) and node.get("type") in ("number", "integer")
