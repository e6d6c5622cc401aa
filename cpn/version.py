"""The version: of the package, and in every model file and training state that it writes."""

__version__ = "0.1.0"
