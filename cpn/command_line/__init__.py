"""From the command line to a checked configuration; the one package that knows Hydra."""
