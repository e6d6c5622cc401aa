"""From the data configuration to people, photos and loaders."""
