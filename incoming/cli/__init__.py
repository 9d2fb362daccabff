"""The command line: serve, and commands for operators."""
