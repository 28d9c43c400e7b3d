"""What forecasters are built from: each learns from arrays and can be written to a folder and read back."""
