"""The interface for clients of Vercel's AI SDK."""
