"""What every training consists of: its folder, its model, its loss, its end."""
