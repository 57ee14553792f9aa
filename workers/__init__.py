"""The Celery app: tasks of a few lines that call ``service``. Nothing imports this package."""
