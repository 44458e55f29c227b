"""Where the time of a call goes, kernel by kernel, and how much of it the machine needs."""
