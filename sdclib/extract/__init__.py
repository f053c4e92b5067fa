"""Frozen networks, and the features that they give of images and of augmented views."""

__all__: list[str] = []
