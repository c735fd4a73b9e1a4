"""The demand service: it tells autoscalers how many workers each task queue needs."""
