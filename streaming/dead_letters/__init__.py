"""Dead letters: messages that could not be used. They can be listed, shown and replayed."""
