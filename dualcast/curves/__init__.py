"""A forecast curve: its fields, and the forms that are made of them."""
