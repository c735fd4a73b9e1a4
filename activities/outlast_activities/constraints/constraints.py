"""Division of a JSON Schema: a part that a decoding engine can enforce, and the rest for the check.

An engine may reject a keyword that it does not know, or ignore it. Both are bad: the request fails, or
the constraint is silently weaker. So the tables in `constraints.engines` decide before a request is
sent. The engine's part still allows every valid answer, with two exceptions. A decimal must be a
number, and `constraints.portable_formats` limits strings with a format.
"""

from dataclasses import dataclass, field
from typing import Any

from outlast.jsonschema.contradictions import contradiction_in
from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.engines import (
    FORMATS,
    KEYWORDS,
    LOCAL,
    MAX_ITEMS,
    MAX_JSON_LEVELS,
    MAX_LENGTH,
    MAX_LLAMA_INTEGER,
    MAX_LLAMA_NAMES,
    MAX_NUMBER,
    PATTERN_WITH_LENGTH,
    TRUE_SCHEMAS,
    UNANCHORED,
    VLLM,
    Engine,
)
from outlast_activities.constraints.nodes import (
    branches_say_more,
    is_annotation,
    is_costly_length,
    is_decimal,
    is_number,
    merged_nodes,
    types_of_node,
    values_of_type,
    with_any_name,
    with_required,
    with_unknown_properties,
    without_rest,
)
from outlast_activities.constraints.portable_patterns import (
    portable_pattern,
    rust_pattern,
)
from outlast_activities.constraints.portable_schemas import EngineSupport, rewrite_schema
from outlast_activities.constraints.regex_size import MAX_REGEX_SIZE, regex_size

_NUMBER_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TYPES_OF = {
    **dict.fromkeys(_NUMBER_LIMITS, ("number", "integer")),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), ("string",)),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems"), ("array",)),
    **dict.fromkeys(("properties", "required", "additionalProperties"), ("object",)),
    **dict.fromkeys(("minProperties", "maxProperties"), ("object",)),
}
_OBJECT_KEYWORDS = (
    *("properties", "required", "additionalProperties", "patternProperties", "minProperties"),
    *("maxProperties", "propertyNames"),
)
_OUTLINES_LEVELS = (12, 8, 6, 4)
"""How many levels of JSON outlines gets of a schema whose regular expression is too large."""
_OTHER_TYPES = ("string", "number", "boolean", "null", "array")
_NO_LLAMA_NAME = frozenset(']\\^-"[')
"""Characters that llama.cpp does not write correctly when it excludes the names of an open object."""
_PROPERTY_CONDITIONS = ("patternProperties", "if", "dependentSchemas", "unevaluatedProperties")
"""Keywords about properties that are left to the check. The engine must then allow other properties."""

_MAX_VALUES: dict[str, float] = {
    **dict.fromkeys(("minLength", "maxLength"), MAX_LENGTH),
    **dict.fromkeys(("minItems", "maxItems", "minProperties", "maxProperties"), MAX_ITEMS),
    **dict.fromkeys(_NUMBER_LIMITS, MAX_NUMBER),
}


@dataclass(frozen=True)
class Constraint:
    """The schema for the engine, and the paths of the keywords that are left to the check."""

    schema: Schema
    checked_after: tuple[str, ...]
    """Paths such as `properties.amount.multipleOf`."""


def constraint_for(schema: Schema, engine: Engine) -> Constraint:
    """Divide a valid schema between an engine and the check."""
    division = _Division(engine, schema)
    enforced = division.divide(schema, "")
    if engine in VLLM:
        enforced = division.cut(enforced, "", MAX_JSON_LEVELS)
    if engine == "outlines":
        enforced = division.within_regex(enforced)
    return Constraint(enforced if isinstance(enforced, dict) else {}, tuple(division.checked_after))


@dataclass
class _Division:
    """The division of one schema. It visits each part once, so its time is linear in the size.

    Methods return the part of a node for the engine. `path` is where the node is, with a final dot.
    """

    engine: Engine
    root: Schema
    checked_after: list[str] = field(default_factory=list)

    def divide(self, node: Any, path: str) -> Any:
        if self._is_impossible(node):
            return False
        divided = self._divided(node, path)
        # outlines reads `{}` as an alternation without a group around it.
        typed = self.engine == "outlines" and divided == {} and path
        return {"type": [*_OTHER_TYPES, "object"]} if typed else divided

    def _is_impossible(self, node: Any) -> bool:
        """Return whether a schema, or the one that it refers to, has no value: engines reject it."""
        if not isinstance(node, dict):
            return node is False
        definitions: Any = self.root.get("$defs", {})
        target = definitions.get(str(node.get("$ref", "")).removeprefix("#/$defs/"), True)
        if target is False or contradiction_in(node, "") is not None:
            return True
        return isinstance(target, dict) and contradiction_in(target, "") is not None

    def within_regex(self, schema: Any) -> Any:
        """Replace what is nested deepest, until outlines' regular expression is small enough."""
        if not isinstance(schema, dict) or regex_size(schema) <= MAX_REGEX_SIZE:
            return schema
        for levels in _OUTLINES_LEVELS:
            trial = _Division(self.engine, self.root)
            shallow = trial.cut(schema, "", levels)
            if regex_size(shallow) <= MAX_REGEX_SIZE:
                self.checked_after.extend(trial.checked_after)
                return shallow
        self._move("", "*")
        return {"type": "object"}

    def cut(self, node: Any, path: str, levels: int) -> Any:
        """Replace what is nested deeper than `levels` by a schema that allows everything."""
        if not isinstance(node, dict):
            return node
        if levels < 0:
            self._move(path, "*")
            return {"type": [*_OTHER_TYPES, "object"]} if self.engine == "outlines" else {}
        kept: Schema = {}
        for keyword, value in node.items():
            if keyword in ("properties", "$defs", "definitions"):
                kept[keyword] = {
                    name: self.cut(part, f"{path}{keyword}.{name}.", levels - 2)
                    for name, part in value.items()
                }
            elif keyword in ("anyOf", "prefixItems"):
                kept[keyword] = [
                    self.cut(part, f"{path}{keyword}.{index}.", levels - 2)
                    for index, part in enumerate(value)
                ]
            elif keyword in ("items", "additionalProperties"):
                kept[keyword] = self.cut(value, f"{path}{keyword}.", levels - 1)
            else:
                kept[keyword] = value
        return kept

    def _divided(self, node: Any, path: str) -> Any:
        if not isinstance(node, dict):
            return node if self.engine in TRUE_SCHEMAS else {}
        plain = {key: value for key, value in node.items() if not is_annotation(key)}
        definitions = self._group(plain.pop("$defs", None), f"{path}$defs.")
        older = self._group(plain.pop("definitions", None), f"{path}definitions.")
        kept = self._with_keywords(self._without_combinations(plain, path), path)
        if definitions:
            kept["$defs"] = definitions
        if older:
            kept["definitions"] = older
        return kept

    def _without_combinations(self, node: Schema, path: str) -> Schema:
        """Rewrite `oneOf` as `anyOf`, and `allOf` as one schema if its parts do not overlap."""
        kept = dict(node)
        if "oneOf" in kept:
            self._move(path, "oneOf")
            kept.setdefault("anyOf", kept.pop("oneOf"))
        parts: Any = kept.pop("allOf", [])
        for part in parts:
            plain = dict(part) if isinstance(part, dict) else {}
            for keyword in [*plain]:
                if is_annotation(keyword):
                    del plain[keyword]
            merged = merged_nodes(kept, plain)
            if merged is None:
                self._move(path, "allOf")
                return with_unknown_properties(kept)
            kept = merged
        return self._without_combinations(kept, path) if {"oneOf", "allOf"} & kept.keys() else kept

    def _with_keywords(self, node: Schema, path: str) -> Schema:
        if "$ref" in node:
            return self._only(node, "$ref", node["$ref"], path)
        if "anyOf" in node:
            if branches_say_more(node):
                branches = self._branches(node["anyOf"], f"{path}anyOf.")
                return self._only(node, "anyOf", branches, path)
            self._move(path, "anyOf")
            node = with_unknown_properties(
                {key: value for key, value in node.items() if key != "anyOf"}
            )
        if "const" in node:
            return self._only(node, "const", node["const"], path)
        return self._with_values(node, path)

    def _with_values(self, node: Schema, path: str) -> Schema:
        if "enum" not in node and "type" not in node and node.keys() & {*_OBJECT_KEYWORDS}:
            # Engines take it for an object. But other values are valid too.
            branches: list[Any] = [{"type": "object", **node}, {"type": [*_OTHER_TYPES]}]
            return {"anyOf": [self._with_keywords(branch, path) for branch in branches]}
        node = node if "enum" in node else self._rewritten(with_any_name(node))
        if "enum" in node:
            return self._only(node, "enum", values_of_type(node), path)
        if any(keyword in node for keyword in _PROPERTY_CONDITIONS):
            node = with_unknown_properties(node)
        if "prefixItems" in node and not self._is_enforced("prefixItems", node):
            node = self._without_prefix(node, path)
        kept: Schema = {}
        for keyword, value in node.items():
            if self._is_enforced(keyword, node):
                kept[keyword] = self._below(keyword, value, path)
            else:
                self._move(path, keyword)
        return self._completed(kept, path)

    def _rewritten(self, node: Schema) -> Schema:
        has_pattern = "pattern" in node and self._is_enforced("pattern", node)
        support = EngineSupport(
            patterns=self.engine in KEYWORDS["pattern"] and not has_pattern,
            multiples=self.engine in KEYWORDS["integer multipleOf"],
            lists=self.engine in LOCAL,
        )
        return rewrite_schema(node, self.root.get("$defs", {}), support)

    def _without_prefix(self, node: Schema, path: str) -> Schema:
        """Leave out `items` too, because it only constrains the items after the prefix."""
        kept = {key: value for key, value in node.items() if key not in ("prefixItems", "items")}
        self._move(path, "prefixItems")
        if node.get("items") is False:
            return without_rest(node, kept)
        if "items" in node:
            self._move(path, "items")
        return kept

    def _only(self, node: Schema, keyword: str, value: Any, path: str) -> Schema:
        """Keep one keyword. Engines ignore what is beside a reference, branches or values."""
        for other in node:
            if other not in (keyword, "type"):
                self._move(path, other)
        if keyword in ("$ref", "anyOf") and "type" in node:
            self._move(path, "type")
        typed = keyword in ("const", "enum") and "type" in node
        return {"type": node["type"], keyword: value} if typed else {keyword: value}

    def _branches(self, branches: Any, path: str) -> list[Any]:
        places = [(branch, f"{path}{index}") for index, branch in enumerate(branches)]
        kept = [place for place in places if not self._is_impossible(place[0])] or places
        decimals = [branch for branch, _ in kept if is_decimal(branch)]
        if decimals and any(is_number(branch) for branch, _ in kept):
            self.checked_after.extend(place for branch, place in kept if is_decimal(branch))
            kept = [(branch, place) for branch, place in kept if not is_decimal(branch)]
        return [self.divide(branch, f"{place}.") for branch, place in kept]

    def _below(self, keyword: str, value: Any, path: str) -> Any:
        if keyword == "properties":
            return self._group(value, f"{path}properties.")
        if keyword == "additionalProperties" and isinstance(value, bool):
            return value
        if keyword in ("items", "additionalProperties"):
            return self.divide(value, f"{path}{keyword}.")
        if keyword == "pattern":
            return self._pattern(value)
        if keyword == "prefixItems":
            return [self.divide(item, f"{path}prefixItems.{n}.") for n, item in enumerate(value)]
        return value

    def _group(self, group: Any, path: str) -> Schema:
        kept: Schema = {}
        for name, part in group.items() if isinstance(group, dict) else ():
            divided = self.divide(part, f"{path}{name}.")
            if divided is False:
                self._move(path, name)
            else:
                kept[name] = divided
        return kept

    def _is_enforced(self, keyword: str, node: Schema) -> bool:
        value: Any = node[keyword]
        kinds = types_of_node(node)
        if keyword in _TYPES_OF and not kinds & set(_TYPES_OF[keyword]):
            return False
        if keyword in _MAX_VALUES and abs(value) > _MAX_VALUES[keyword]:
            return False
        if keyword in ("minLength", "maxLength") and is_costly_length(node, value):
            return False
        if keyword in _NUMBER_LIMITS:
            kind = "number" if "number" in kinds else "integer"
            if self.engine == "llama.cpp" and abs(value) > MAX_LLAMA_INTEGER:
                return False
            plain = "e" not in repr(value) if kind == "number" else value == int(value)
            return plain and self.engine in KEYWORDS.get(f"{kind} {keyword}", ())
        return self.engine in KEYWORDS.get(keyword, ()) and self._is_supported(keyword, node)

    def _is_supported(self, keyword: str, node: Schema) -> bool:
        if keyword == "format":
            return self._knows_format(node["format"])
        if keyword == "pattern":
            known = self._knows_format(node.get("format"))
            return not known and self._pattern(node["pattern"]) is not None
        return True

    def _pattern(self, pattern: Any) -> str | None:
        """Return a pattern in the words of the engine, or None."""
        in_rust = self.engine in UNANCHORED
        return rust_pattern(str(pattern)) if in_rust else portable_pattern(str(pattern))

    def _knows_format(self, name: Any) -> bool:
        return self.engine in FORMATS.get(str(name), ())

    def _completed(self, node: Schema, path: str) -> Schema:
        kept = with_required(node)
        has_shape = "pattern" in kept or "format" in kept
        for keyword in ("minLength", "maxLength"):
            if has_shape and keyword in kept and self.engine not in PATTERN_WITH_LENGTH:
                del kept[keyword]
                self._move(path, keyword)
        if "object" in types_of_node(kept) and not kept.get("properties"):
            # Engines, and outlines before them, would forbid other properties by default.
            kept.setdefault("additionalProperties", True)
        if kept.get("items") is False and (self.engine not in VLLM or "prefixItems" not in kept):
            kept = without_rest(kept, {key: value for key, value in kept.items() if key != "items"})
        is_list = "array" in types_of_node(kept) or "prefixItems" in kept
        counted = "prefixItems" not in kept and {"minItems", "maxItems"} & kept.keys()
        if (self.engine in VLLM and is_list) or counted:
            # xgrammar often knows no items otherwise, and gives only the empty list.
            kept.setdefault("items", {})
        is_empty = "object" in types_of_node(kept) and not kept.get("properties")
        if self.engine == "outlines" and is_empty and kept.get("additionalProperties") is False:
            self._move(path, "additionalProperties")
            kept["additionalProperties"] = True
        if self.engine == "llama.cpp" and kept.get("additionalProperties", False) is not False:
            kept = self._without_odd_names(kept, path)
        return kept

    def _without_odd_names(self, node: Schema, path: str) -> Schema:
        """Leave out the properties of an open object with a name that llama.cpp cannot exclude."""
        known: Any = node.get("properties", {})
        letters = "".join(known)
        if len(letters) <= MAX_LLAMA_NAMES and not _NO_LLAMA_NAME & set(letters):
            return node
        for keyword in ("properties", "required"):
            if keyword in node:
                self._move(path, keyword)
        kept = {key: value for key, value in node.items() if key not in ("properties", "required")}
        return {**kept, "additionalProperties": True}

    def _move(self, path: str, keyword: str) -> None:
        self.checked_after.append(f"{path}{keyword}")
