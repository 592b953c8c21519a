"""Tables scored from many processes and machines."""
