"""Incoming!!: takes large files from browsers, piece by piece, and hands them over to web applications."""

__version__ = "0.2.0"
