"""Image sets, their splits, and feature sets: packaged, extracted, of one's own vectors, and variants of these."""

__all__: list[str] = []
