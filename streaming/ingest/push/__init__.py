"""Sources that send: observations over HTTP."""
