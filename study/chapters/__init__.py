"""What the chapters make of results: pure functions from tables to tables, numbers and words, a topic a module."""

__all__: list[str] = []
