"""The commands, one file each (the three listings share one)."""
