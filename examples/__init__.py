"""Domains that the documentation builds; they are used with --config-dir examples/conf."""
