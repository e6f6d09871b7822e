"""What is wrong with the lake, and the ways back: doctor, backup, repair."""
