"""The ByteStore on a POSIX file system."""
