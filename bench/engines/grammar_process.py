"""Compiles schemas with xgrammar, as vLLM does. It runs in vLLM's environment, without outlast.

Reads lines of JSON, `{"schema": {…}, "values": [["text", …], …]}`: each value in several forms. Writes a
line for each: `{"problem": null, "refused": [2]}`, where 2 is the position of a value that has no possible
form.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

END = 256
"""The token that ends an answer, after one token for each byte."""


def xgrammar_judge() -> Callable[[dict[str, Any], list[list[str]]], dict[str, Any]]:
    """Return a function that compiles a schema and tries values."""
    import xgrammar  # type: ignore[import-not-found]  # noqa: PLC0415 of vLLM's environment
    from vllm.v1.structured_output.backend_xgrammar import (  # type: ignore[import-not-found]  # noqa: PLC0415
        has_xgrammar_unsupported_json_features,
    )

    vocabulary = [*(bytes([value]) for value in range(END)), b"</s>"]
    compiler = xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[END]), max_threads=1, cache_enabled=False
    )

    def judge(schema: dict[str, Any], values: list[list[str]]) -> dict[str, Any]:
        if has_xgrammar_unsupported_json_features(schema):
            return {"problem": "vLLM rejects it for xgrammar", "refused": []}
        try:
            grammar = compiler.compile_json_schema(json.dumps(schema), any_whitespace=True)
        except Exception as error:  # noqa: BLE001 errors of a C++ library
            return {"problem": f"{type(error).__name__}: {error}"[:300], "refused": []}

        def is_possible(text: str) -> bool:
            matcher = xgrammar.GrammarMatcher(grammar)
            return bool(matcher.accept_string(text) and matcher.accept_token(END))

        refused = [at for at, forms in enumerate(values) if not any(map(is_possible, forms))]
        return {"problem": None, "refused": refused}

    return judge


def main() -> None:
    """Answer each line of stdin."""
    judge = xgrammar_judge()
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(judge(question["schema"], question["values"])), file=answers, flush=True)


if __name__ == "__main__":
    main()
