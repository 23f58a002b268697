"""Geometry of the console's pictures: pure, no Django. Places are percentages: pictures fit any width."""
