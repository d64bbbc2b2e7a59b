"""The stages that only a reselection has: new rows, merged tables, changes."""
