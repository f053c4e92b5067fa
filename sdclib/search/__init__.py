"""Encoding many vectors, searching by Hamming distance, exporting to other programs, and the report."""

__all__: list[str] = []
