"""What the chapters make of the tables: pure functions from tables of results to tables, numbers and words."""
