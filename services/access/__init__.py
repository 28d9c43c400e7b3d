"""Who may ask, how often, and what is remembered of it.

``gate`` stands before every route: it knows the caller by a key (``keys``) or a token (``tokens``), counts the call
(``limits``) and writes it down (``audit``). What a caller may see is in ``identity``; ``call`` is the call in progress.
"""
