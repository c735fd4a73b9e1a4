"""Payload templates (`Parameters`, `ResultSelector`, `ItemSelector`), as templates and as expressions."""

from pydantic import JsonValue

from outlast.pipelines.asl.intrinsics import value
from outlast.pipelines.asl.paths import at, text_literal

SUFFIX = ".$"
"""Ends the name of a field whose value is a path or a function."""


def template(payload: JsonValue, root: str = ".") -> JsonValue:
    """Return a payload template as JSON with expressions in it."""
    if isinstance(payload, dict):
        moved: dict[str, JsonValue] = {}
        for name, inner in payload.items():
            with at(name):
                if name.endswith(SUFFIX):
                    moved[name.removesuffix(SUFFIX)] = f"${{ {value(inner, root)} }}"
                else:
                    moved[name] = template(inner, root)
        return moved
    if isinstance(payload, list):
        return [template(each, root) for each in payload]
    return literal(payload)


def literal(payload: JsonValue) -> JsonValue:
    """Return JSON without templates, in which `${` is only text."""
    if isinstance(payload, dict):
        return {name: literal(each) for name, each in payload.items()}
    if isinstance(payload, list):
        return [literal(each) for each in payload]
    if isinstance(payload, str) and "${" in payload:
        return f"${{ {text_literal(payload)} }}"
    return payload


def expression(payload: JsonValue, root: str = ".") -> str:
    """Return a payload template as one expression."""
    if isinstance(payload, dict):
        fields = []
        for name, inner in payload.items():
            with at(name):
                is_dynamic = name.endswith(SUFFIX)
                text = value(inner, root) if is_dynamic else expression(inner, root)
            plain = name.removesuffix(SUFFIX) if is_dynamic else name
            fields.append(f"{text_literal(plain)}: ({text})")
        return f"{{{', '.join(fields)}}}"
    if isinstance(payload, list):
        return f"[{', '.join(f'({expression(each, root)})' for each in payload)}]"
    return text_literal(payload) if isinstance(payload, str) else _scalar(payload)


def _scalar(payload: JsonValue) -> str:
    if isinstance(payload, bool):
        return "true" if payload else "false"
    return "null" if payload is None else str(payload)
