"""Getting the public datasets: where they are, under which licence, and how to take them in safely."""
