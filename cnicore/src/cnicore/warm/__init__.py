"""The warm path: a launcher asks a server, which has everything imported, and else runs cold."""
