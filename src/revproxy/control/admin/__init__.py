"""The admin socket: its place in the file system, its protocol, its commands, and their client."""
