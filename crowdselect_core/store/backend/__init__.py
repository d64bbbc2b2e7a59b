"""Where the bytes lie: a local folder or object storage, behind one Protocol."""
