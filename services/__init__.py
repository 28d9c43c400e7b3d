"""The two services that trading systems call, and the page."""
