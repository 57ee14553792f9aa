"""Tables, engine, the embedded PostgreSQL, and migrations. Knows no room; every room knows it."""

from service.database.engine import Database, DatabaseError

__all__ = ["Database", "DatabaseError"]
