"""Person detectors on the feature pyramid: RetinaNet and Mask R-CNN."""
