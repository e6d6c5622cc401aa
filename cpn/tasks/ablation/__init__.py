"""The processes of a study: one that leads, and one for each training and each timing."""
