"""Push: observations over HTTP."""
