"""Features from a stream: the plan of an entity, its state in bounded memory, and the rows that new values make."""
