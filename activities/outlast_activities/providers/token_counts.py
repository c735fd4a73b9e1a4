"""Token counts as servers report them. A count that is not a plausible number is ignored."""

from collections.abc import Mapping

MAX_TOKENS_OF_ANSWER = 100_000_000
"""Tokens that a server may report for one answer. More is an error of the server."""


def counts_in(chunk: Mapping[str, object]) -> dict[str, int]:
    """Return the counts of a chunk that can be read: from `usage`, or llama.cpp's `timings`."""
    usage, timings = chunk.get("usage"), chunk.get("timings")
    if isinstance(usage, Mapping):
        of_prompt, of_completion = _details(usage, "prompt"), _details(usage, "completion")
        # DeepSeek names its cache hits otherwise, vLLM has its reasoning tokens at the top.
        cached = of_prompt.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
        written = of_prompt.get("cache_write_tokens")
        thought = of_completion.get("reasoning_tokens", usage.get("reasoning_tokens"))
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    elif isinstance(timings, Mapping):
        cached, written, thought = timings.get("cache_n"), None, None
        evaluated = count_in(timings.get("prompt_n"))
        prompt = None if evaluated is None else evaluated + (count_in(cached) or 0)
        completion = timings.get("predicted_n")
    else:
        return {}
    counts = {
        "prompt_tokens": count_in(prompt),
        "cached_prompt_tokens": count_in(cached),
        "cache_write_tokens": count_in(written),
        "completion_tokens": count_in(completion),
        "reasoning_tokens": count_in(thought),
    }
    return {name: count for name, count in counts.items() if count is not None}


def _details(usage: Mapping[str, object], of: str) -> Mapping[str, object]:
    details = usage.get(f"{of}_tokens_details")
    return details if isinstance(details, Mapping) else {}


def count_in(value: object) -> int | None:
    """Return a count, or None if the value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= MAX_TOKENS_OF_ANSWER or value != int(value):
        return None
    return int(value)
