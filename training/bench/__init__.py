"""The field's arithmetic benchmarks: tasks as data, one criterion, the search and published recipes side by side."""
