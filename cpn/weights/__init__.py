"""Tensors by name: read from files of unknown origin, and fitted to a network."""
