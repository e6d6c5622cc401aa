"""Studies: which variants are trained, what became of them, and what their figures say."""
