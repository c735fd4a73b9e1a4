"""Conversion of a JSON Schema to the dialect of an API's structured outputs, with the way back for values.

The converted schema allows values that stand for values of the original schema: a map is a list of
entries, an optional property may be null, a tuple is an object, and a value of any type is a JSON text. A
keyword that the API does not accept becomes a part of the description. The check of each answer still uses
the original schema.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from outlast.jsonschema.canonical import canonical_schema
from outlast.jsonschema.contradictions import contradiction_in
from outlast.jsonschema.schemas import Schema, closed_object
from outlast_activities.constraints.api_containers import array_part, object_part
from outlast_activities.constraints.api_dialects import SchemaDialect
from outlast_activities.constraints.api_enums import enum_part
from outlast_activities.constraints.api_limits import limit_problem
from outlast_activities.constraints.api_nodes import (
    KEYWORDS_OF,
    MAX_MERGES,
    SHAPES,
    described,
    description_of,
    has_shape,
    implied_types,
    kinds_of,
    without_annotations,
)
from outlast_activities.constraints.api_parts import (
    Impossible,
    NotExpressible,
    Part,
    either,
    json_text_part,
    kept_keywords,
)
from outlast_activities.constraints.api_references import SchemaReferences
from outlast_activities.constraints.api_values import VALUE, Restore, unwrapped
from outlast_activities.constraints.nodes import (
    is_decimal,
    is_number,
    merged_nodes,
    types_of_node,
)
from outlast_activities.policies.schema_evaluation import CheckTooLarge, Evaluation


@dataclass(frozen=True)
class ApiSchema:
    """A schema in the dialect of an API. `restore` returns the original form of a value."""

    schema: Schema
    restore: Restore


def api_schema(schema: Schema, dialect: SchemaDialect) -> ApiSchema:
    """Return a schema of an object in a dialect.

    A root that would not be an object with properties is wrapped. Raises `NotExpressible` with the path.
    """
    conversion = _Conversion(canonical_schema(schema), dialect)
    try:
        converted = conversion.convert()
    except Impossible:
        raise NotExpressible("no value satisfies this schema") from None
    except RecursionError:
        raise NotExpressible("the schema is nested too deep") from None
    problem = limit_problem(converted.schema, dialect)
    if problem is not None:
        raise NotExpressible(problem)
    return converted


class _Conversion:
    """The conversion of one canonical schema. `merges` counts the schemas that apply to one value."""

    def __init__(self, root: Schema, dialect: SchemaDialect) -> None:
        self._root = root
        self.dialect = dialect
        self._references = SchemaReferences(root)
        self._definitions: dict[str, Schema] = {}
        self._parts: dict[str, Part] = {}
        self._restorers: dict[str, Restore] = {}
        self._open: list[tuple[str, int]] = []
        self._optional_depth = 0

    def convert(self) -> ApiSchema:
        part = self._any(self._root, "", 0)
        if set(part.kinds) != {"object"} or "properties" not in part.schema:
            wrapped = closed_object({VALUE: part.schema})
            part = Part(wrapped, frozenset({"object"}), unwrapped(part.restore))
        schema = part.schema
        if self._definitions:
            schema = {**schema, "$defs": dict(self._definitions)}
        return ApiSchema(schema, part.restore)

    def _any(self, node: Any, path: str, merges: int) -> Part:
        """Convert a schema of any kind."""
        if node is False:
            raise Impossible
        if not isinstance(node, dict) or not SHAPES & node.keys():
            return json_text_part(node)
        if merges > MAX_MERGES:
            raise NotExpressible(f"{path or '.'}: too many schemas apply to one value")
        if "$ref" in node:
            return self._reference(node, path, merges)
        if "allOf" in node:
            return self._any(self._merged(node, path), path, merges + 1)
        if contradiction_in(node, path) is not None:
            raise Impossible
        if "enum" in node or "const" in node:
            return enum_part(node, self.dialect, self.fits)
        for keyword in ("anyOf", "oneOf"):
            if keyword in node:
                return self._union(node, keyword, path, merges)
        return self._typed(node, path)

    def _reference(self, node: Schema, path: str, merges: int) -> Part:
        reference = str(node["$ref"])
        beside = {key: value for key, value in node.items() if key not in ("$ref", "$defs")}
        target = self._references.target(reference)
        if not isinstance(target, dict):
            return self._any(target if target is not True else beside, path, merges + 1)
        recursive = self._references.is_recursive(reference)
        if SHAPES & beside.keys():
            merged = self._merged({"allOf": [target, without_annotations(beside)]}, path)
            return self._any({**merged, **description_of(beside)}, path, merges + 1)
        if not recursive and beside.get("description"):
            return self._any({**target, **description_of(beside)}, path, merges + 1)
        return self._defined(reference, target, path, recursive=recursive)

    def _defined(self, reference: str, target: Schema, path: str, *, recursive: bool) -> Part:
        if recursive:
            self._check_recursion(reference, path)
            if self.dialect.recursion == "optional" and self._is_required_cycle(reference):
                return json_text_part(target)
        if reference not in self._parts:
            schema: Schema = {"$ref": f"#/$defs/{self._references.name(reference)}"}
            # A definition may refer to itself, so its kinds are known before it is converted.
            kinds = frozenset(kinds_of(target, self._references.target))
            self._parts[reference] = Part(schema, kinds, self._restorer(reference))
            part = self._converted(reference, target, path)
            if not recursive:
                self._parts[reference] = Part(schema, part.kinds, part.restore)
        return self._parts[reference]

    def _converted(self, reference: str, target: Schema, path: str) -> Part:
        """Convert a definition, which may refer to itself meanwhile."""
        self._open.append((reference, self._optional_depth))
        try:
            part = self._any(target, path, 0)
        finally:
            self._open.pop()
        self._definitions[self._references.name(reference)] = part.schema
        self._restorers[reference] = part.restore
        return part

    def _restorer(self, reference: str) -> Restore:
        # The definition may still be in conversion.
        return lambda value: self._restorers[reference](value)  # noqa: PLW0108

    def _check_recursion(self, reference: str, path: str) -> None:
        if self.dialect.recursion == "no":
            raise NotExpressible(
                f"{path or '.'}: {reference} contains itself, which {self.dialect.name} do not allow"
            )

    def _is_required_cycle(self, reference: str) -> bool:
        """Return whether this reference closes a cycle that is not below an optional property."""
        if not self._open:
            return False
        enclosing, depth = self._open[-1]
        same_cycle = enclosing in self._references.reachable(reference)
        return same_cycle and self._optional_depth <= depth

    def _merged(self, node: Schema, path: str) -> Schema:
        parts: Any = node["allOf"]
        beside = {key: value for key, value in node.items() if key not in ("allOf", "$defs")}
        merged: Schema = beside
        for part in map(self._resolved, parts):
            if part is False:
                raise Impossible
            if not isinstance(part, dict):
                continue
            both = merged_nodes(without_annotations(merged), without_annotations(part))
            if both is None:
                raise NotExpressible(
                    f"{path or '.'}: allOf has schemas that cannot be written as one"
                )
            merged = {**description_of(part), **description_of(merged), **both}
        return merged

    def _resolved(self, node: Any) -> Any:
        """Return the schema that a mere reference names, unless it contains itself."""
        for _ in range(MAX_MERGES):
            if not isinstance(node, dict) or set(without_annotations(node)) != {"$ref"}:
                return node
            reference = str(node["$ref"])
            target = self._references.target(reference)
            if not isinstance(target, dict) or self._references.is_recursive(reference):
                return node
            node = target
        return node

    def _union(self, node: Schema, keyword: str, path: str, merges: int) -> Part:
        listed: Any = node[keyword]
        beside = {key: value for key, value in node.items() if key not in (keyword, "$defs")}
        shape = without_annotations(beside)
        if shape.keys() & SHAPES:
            if not any(has_shape(branch) for branch in listed):
                return self._any(
                    beside, path, merges + 1
                )  # such as {"required": ["a"]}: checked later
            listed = [
                branch if branch is False else {"allOf": [shape, branch]} for branch in listed
            ]
        if any(map(is_number, listed)):
            # pydantic's own limits hold for a decimal that is a number, and not for its text.
            listed = [branch for branch in listed if not is_decimal(branch)]
        parts: list[Part] = []
        for index, branch in enumerate(listed):
            try:
                parts.append(self._any(branch, f"{path}.{keyword}.{index}", merges + 1))
            except Impossible:
                continue
        return either(parts, beside, self.fits)

    def part(self, node: Any, path: str, *, optional: bool = False) -> Part:
        """Convert a schema at a path. Raises `Impossible` or `NotExpressible`."""
        self._optional_depth += optional
        try:
            return self._any(node, path, 0)
        finally:
            self._optional_depth -= optional

    def fits(self, value: JsonValue, schema: Schema) -> bool:
        """Return whether a value satisfies a converted schema."""
        rooted = {**schema, "$defs": dict(self._definitions)}
        try:
            return Evaluation(rooted).problem(rooted, value) is None
        except (CheckTooLarge, RecursionError, ValueError, TypeError, ArithmeticError):
            return False

    def _typed(self, node: Schema, path: str) -> Part:
        kinds = types_of_node(node) or implied_types(node)
        if not kinds:
            return json_text_part(node)
        parts: list[Part] = []
        for kind in (kind for kind in KEYWORDS_OF if kind in kinds):
            if kind == "integer" and "number" in kinds:
                continue
            own = {key: value for key, value in node.items() if key in KEYWORDS_OF[kind]}
            if len(kinds) == 1:
                own |= description_of(node)
            try:
                parts.append(self._of_type(kind, own, path))
            except Impossible:
                if len(kinds) == 1:
                    raise
        return either(parts, node if len(kinds) > 1 else {}, self.fits)

    def _of_type(self, kind: str, node: Schema, path: str) -> Part:
        if kind == "object":
            return object_part(self, node, path)
        if kind == "array":
            return array_part(self, node, path)
        kept, remarks = kept_keywords(node, KEYWORDS_OF[kind], self.dialect)
        kinds = frozenset({"integer", "number"}) if kind == "number" else frozenset({kind})
        return Part(described({"type": kind, **kept}, node, remarks), kinds)
