"""What a user might write in files of their own, right and wrong."""
