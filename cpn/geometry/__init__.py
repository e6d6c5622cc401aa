"""Boxes and crops: where a point is in the image, in the crop and in a heatmap."""
