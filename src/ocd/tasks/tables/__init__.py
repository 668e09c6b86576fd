"""Tables: California housing, learning to rank, and a user's own file."""
