"""The interface for clients of OpenAI's chat completions."""
