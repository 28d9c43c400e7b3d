"""The code that the APIs of both services share: the application, answers, events, schemas."""
