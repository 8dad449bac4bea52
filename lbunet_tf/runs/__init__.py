"""What lies in a run directory, and what is made of several runs."""
