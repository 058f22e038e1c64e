"""How much a session may take: tasks at once, memory of a worker."""
