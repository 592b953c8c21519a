"""Progress of long operations, and objects as text and HTML. No other folder formats HTML."""
