"""What is read from and written to the disk, safely: the ground floor, which imports no room."""
