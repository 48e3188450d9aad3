"""What runs inside the walls: a zygote and its jobs. Standard library only, for it is started as `python -I -S`."""
