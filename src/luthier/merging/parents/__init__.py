"""The models that are merged: opened, made alike, read in rows."""
