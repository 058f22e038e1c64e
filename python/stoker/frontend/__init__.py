"""Front ends: from a framework's model to a program."""
