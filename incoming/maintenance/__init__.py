"""Background duties: recovery after a start, expiry of uploads, removal of files and tombstones."""
