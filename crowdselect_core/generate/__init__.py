"""Generation: one file per engine behind one Protocol (`base.Engine`)."""
