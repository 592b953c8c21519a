"""`mme top`: `figures.py` has the data, `reading.py` reads it, `drawing.py` draws it, `top.py` is the command."""
