"""What is kept on disk: threads, signatures, images."""
