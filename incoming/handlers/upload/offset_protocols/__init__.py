"""The HTTP protocols that know one offset: tus and the IETF's resumable uploads, on one kind of append."""
