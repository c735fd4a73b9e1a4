"""Spans and metrics of model calls and tool calls, by the GenAI conventions of OpenTelemetry."""
