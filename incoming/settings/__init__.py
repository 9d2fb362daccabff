"""The configuration: options, their types and where their values come from."""
