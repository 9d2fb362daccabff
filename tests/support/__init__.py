"""The tests' own instruments: a real server, a scripted web application, a misbehaving network, known files."""
