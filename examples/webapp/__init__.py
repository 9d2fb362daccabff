"""What the example web apps need and what has nothing to do with Incoming!!: options, pages, a folder of files.

Both examples use it, so that each rule about names, paths and secrets is written, and tested, once.
"""
