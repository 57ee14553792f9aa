"""What the dashboard is told: questions to the tables, answered by frozen records. Nothing here writes, but for the
figures of days that are over (``days``)."""
