"""Geometry of the console's pictures: pure, no Django. Places are percentages, so a picture fits any width."""
