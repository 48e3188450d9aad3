"""Exact algebra of what a person types: parsing without eval, polynomials, roots, elementary functions."""
