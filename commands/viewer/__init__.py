"""The tree viewer: a search as a page, of its own or from a server while it thinks. See docs/adr/0029."""
