"""A page on this machine to try a model: a photo in, people, skeletons and heatmaps out.

Needs the extra `demo`; only `cpn.demo.serving` and what it imports know a server's library.
"""
