"""Floor 1: keeps. Each module hides one outside system behind the Protocols of `base`."""
