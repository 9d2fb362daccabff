"""The ByteStore on an S3-compatible object store: Ceph RGW, AWS S3, Garage, R2 and others."""
