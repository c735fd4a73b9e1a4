"""Images and files: the types of users, and the store of their bytes."""
