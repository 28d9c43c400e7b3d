"""Access control: authentication, permissions, rate limits and the audit trail.

``gate`` is middleware before all routes: it identifies the caller by a key (``keys``) or a token (``tokens``), applies
the rate limit (``limits``) and records the call (``audit``). ``identity`` holds permissions, ``call`` the current call.
"""
