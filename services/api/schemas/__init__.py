"""The pydantic models of answers, with examples. OpenAPI is made from them."""
