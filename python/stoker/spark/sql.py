"""Parts of Spark's SQL, light enough for a worker to load."""


def text_literal(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
