"""The stages of a selection, from the data set's ids to the chosen rows."""
