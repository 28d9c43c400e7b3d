"""What could not be used: to be read, and to be sent again when its cause is mended."""
