"""Policies that are language models behind somebody's HTTP server."""
