"""What a model says of one row: IFD, hidden states, tags, grades. One module a kind; factory."""
