"""A pytorch-cpn checkpoint becomes a model file that `cpn.load_model` reads."""
