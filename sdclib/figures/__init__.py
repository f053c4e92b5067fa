"""Figures that the library's report has: one style, one colour a method, colour-blind-safe."""

__all__: list[str] = []
