"""The network: backbone, feature pyramid, GlobalNet, RefineNet."""
