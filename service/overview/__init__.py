"""What operators look at: reads over many rooms, which write nothing."""
