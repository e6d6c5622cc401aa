"""The process itself: its messages, how it is interrupted, and others that work for it."""
