"""Storage on disk: threads, signatures, images."""
