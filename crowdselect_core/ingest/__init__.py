"""Reading data sets: one file per container, one table of columns per layout."""
