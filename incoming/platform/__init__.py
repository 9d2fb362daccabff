"""What differs between operating systems, in one place: what only Linux has, and what takes its place elsewhere.

Decides what a missing call is replaced by. No other module names these calls, so the rest of the server is plain POSIX
(`tests/unit/project/test_platform.py`). Names are looked up at each call, because tests take them away.
"""
