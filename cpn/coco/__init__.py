"""COCO JSON files, read and checked by one module for all who need them.

Boxes are COCO's x, y, width, height in edge coordinates (see `cpn.geometry.crop`), keypoints are x,
y, v with v 0 (unlabelled), 1 (hidden) or 2 (visible); both in the frame of the stored pixels.
"""
