"""Keypoint annotations of other data sets and programs, as COCO files."""
