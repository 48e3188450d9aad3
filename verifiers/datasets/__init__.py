"""Domains whose problems are somebody else's: files, data sets, reasoning-gym, a user's own scores."""
