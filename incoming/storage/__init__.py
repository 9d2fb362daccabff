"""The stores: one Protocol a file, and a package for each implementation."""
