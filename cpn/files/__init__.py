"""Files that are written whole or not at all, and files that lie at an address."""
