"""Domains that make their own problems and demonstrations."""
