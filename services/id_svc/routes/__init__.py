"""The routes of id-svc."""
