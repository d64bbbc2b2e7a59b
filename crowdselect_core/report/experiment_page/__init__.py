"""OUT/report.html of an experiment: what was found, from the tables in OUT alone.

`reading.read` reads OUT, each module of `sections` is a function from the data and its limits to a
`Section` of `report.page`, `page.page` puts them in order. Nothing is computed but means, intervals
of means, and places in figures.
"""
